//! LATENCY: events that took longer than `latency-monitor-threshold` allows, and histograms of how long each command takes.
//!
//! The events are those of Redis that hold up a client here: `command` and `fast-command` (one of those flagged so, or a run of them in a pipeline), and
//! `eviction-cycle`, what a command has evicted to have room. Keys expire, and disks are synced, on threads of their own.

pub(in crate::command) mod events;

use super::ADMIN;
use crate::command::stats::CommandTotals;
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Found, Group, Handler, all, by_full_name, help};
use crate::protocol::Args;
use events::Series;
use std::fmt::Write as _;
use std::time::Duration;

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::container("latency", "2.8.13", Group::Server, "Looks at latencies of events.", SUBCOMMANDS)];

const fn sub(name: &'static str, arity: Arity, summary: &'static str, run: Handler) -> CommandSpec {
    CommandSpec { summary, flags: ADMIN, ..CommandSpec::new(name, "2.8.13", Group::Server, arity, run) }
}

const SUBCOMMANDS: &[CommandSpec] = &[
    sub("doctor", Arity::Exact(2), "Says in words what has taken long, and what may help.", doctor),
    sub("graph", Arity::Exact(3), "Draws the latencies of an event.", graph),
    sub("history", Arity::Exact(3), "Lists the latencies of an event.", history),
    CommandSpec {
        since: "7.0.0",
        complexity: "O(N) for N commands",
        ..sub("histogram", Arity::AtLeast(2), "Tells how many calls of commands took how long.", histogram)
    },
    sub("latest", Arity::Exact(2), "Lists the latest latency of each event.", latest),
    sub("reset", Arity::AtLeast(2), "Forgets these events, or all.", reset),
    CommandSpec::help("2.8.13", Group::Server, help_text),
];

/// A command has run for so long, or several in a run have.
#[inline]
pub(in crate::command) fn note_command(ctx: &Ctx<'_>, flags: Flags, elapsed: Duration) {
    note(ctx, if flags.contains(Flags::FAST) { "fast-command" } else { "command" }, elapsed);
}

/// Enters an event that took so long, if that is too long by the settings.
#[inline]
pub(in crate::command) fn note(ctx: &Ctx<'_>, event: &'static str, elapsed: Duration) {
    let threshold_ms = ctx.shared.settings.latency_threshold_ms();
    let ms = elapsed.as_millis() as u64;
    if threshold_ms > 0 && ms >= threshold_ms {
        ctx.shared.latency.add(event, ctx.shared.clock.now_ms(), ms);
    }
}

fn history(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let samples = ctx.shared.latency.get(args.at(2)).unwrap_or_default().samples;
    ctx.reply.array_header(samples.len());
    for sample in samples {
        ctx.reply.array_header(2);
        ctx.reply.integer(sample.at_s as i64);
        ctx.reply.integer(sample.ms as i64);
    }
    Ok(())
}

fn latest(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let events = ctx.shared.latency.all();
    ctx.reply.array_header(events.len());
    for (name, series) in events {
        let last = series.samples.back();
        ctx.reply.array_header(4);
        ctx.reply.bulk(name.as_bytes());
        for number in [last.map_or(0, |sample| sample.at_s), last.map_or(0, |sample| sample.ms), series.longest_ms] {
            ctx.reply.integer(number as i64);
        }
    }
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let names = args.from(2);
    let forgotten = ctx
        .shared
        .latency
        .forget(|event| names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(event.as_bytes())));
    ctx.reply.integer(forgotten as i64);
    Ok(())
}

fn graph(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let event = String::from_utf8_lossy(args.at(2));
    let series = ctx.shared.latency.get(args.at(2));
    let series = series.ok_or_else(|| CommandError::new(format!("ERR No samples available for event '{event}'")))?;
    let (low, high) = series.bounds_ms();
    let head = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)", series.longest_ms);
    let drawn = events::graph(&series, ctx.shared.clock.now_ms() / 1000);
    ctx.reply.verbatim("txt", format!("{head}\n{}\n{drawn}", "-".repeat(head.len())).as_bytes());
    Ok(())
}

fn doctor(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let (events, threshold_ms) = (ctx.shared.latency.all(), ctx.shared.settings.latency_threshold_ms());
    let mut text = String::new();
    if threshold_ms == 0 {
        text.push_str(
            "Latencies are not monitored: CONFIG SET latency-monitor-threshold <milliseconds> begins to. LATENCY HISTOGRAM, SLOWLOG GET\n\
             and INFO latencystats tell of commands without it.\n",
        );
    }
    if events.is_empty() && threshold_ms > 0 {
        let _infallible = writeln!(text, "Nothing has taken {threshold_ms} ms or longer.");
    }
    for (name, series) in &events {
        describe(&mut text, name, series);
    }
    ctx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// An event, and what may help.
fn describe(text: &mut String, name: &str, series: &Series) {
    let (mean, deviation) = series.mean_and_deviation_ms();
    let _infallible = writeln!(
        text,
        "{name}: in {} seconds of those that are remembered, {mean:.0} ms in the mean (mean deviation {deviation:.0} ms), {} ms at worst.\n    {}",
        series.samples.len(),
        series.longest_ms,
        match name {
            "eviction-cycle" =>
                "Keys are evicted to have room: raise maxmemory, or lower maxmemory-eviction-tenacity so that each command evicts less.",
            "fast-command" =>
                "Commands that take constant time have waited: for a core, for memory that was swapped out, or for the medium of the pool.",
            _ =>
                "SLOWLOG GET names the commands. Of large collections ask for parts: SCAN instead of KEYS, ranges instead of all elements.",
        }
    );
}

fn histogram(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let names = args.from(2);
    let mut asked: Vec<Found> = Vec::new();
    for found in names.iter().filter_map(by_full_name) {
        let is_meant = |other: &Found| match found.spec.subcommands {
            [] => other.id == found.id,
            _ => other.id == found.id || other.container.is_some_and(|container| container.name == found.spec.name),
        };
        asked.extend(all().filter(is_meant));
    }
    if names.is_empty() {
        asked.extend(all());
    }
    let stats = &ctx.shared.stats;
    let known: Vec<_> =
        asked.into_iter().filter_map(|found| Some((found, stats.times(found.id)?, stats.command(found.id)))).collect();
    ctx.reply.map_header(known.len());
    for (found, times, CommandTotals { calls, .. }) in known {
        let counts = times.by_octave(calls);
        ctx.reply.bulk(found.full_name().as_bytes());
        ctx.reply.map_header(2);
        ctx.reply.bulk(b"calls");
        ctx.reply.integer(calls as i64);
        ctx.reply.bulk(b"histogram_usec");
        ctx.reply.map_header(counts.len());
        for (us, below) in counts {
            ctx.reply.integer(us as i64);
            ctx.reply.integer(below as i64);
        }
    }
    Ok(())
}

fn help_text(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::write(
        ctx,
        args,
        &[
            "DOCTOR",
            "    In words: what has taken long, and what may help.",
            "GRAPH <event>",
            "    The latencies of an event, drawn.",
            "HISTOGRAM [<command> ...]",
            "    For these commands, or all: how many calls took no longer than so many microseconds.",
            "HISTORY <event>",
            "    The latencies of an event: Unix time and milliseconds of each.",
            "LATEST",
            "    For each event: Unix time and milliseconds of the latest latency, and the longest ever.",
            "RESET [<event> ...]",
            "    Forgets these events, or all.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Reply, TestClient};

    fn numbers(reply: &Reply) -> Vec<i64> {
        reply.items().iter().map(Reply::int).collect()
    }

    #[test]
    fn what_takes_longer_than_the_threshold_is_remembered() {
        let mut client = TestClient::new();
        let at_s = client.clock.now_ms() as i64 / 1000;
        client.run("DEBUG SLEEP 0.5");
        assert_eq!(client.run("LATENCY LATEST"), Reply::Array(vec![]), "nobody has asked");
        assert!(client.run("LATENCY DOCTOR").text().contains("not monitored"));
        client.run("CONFIG SET latency-monitor-threshold 200");
        assert!(client.run("LATENCY DOCTOR").text().contains("Nothing has taken 200 ms"));
        for seconds in ["0.3", "0.1", "0.5", "0.4"] {
            client.run(&format!("DEBUG SLEEP {seconds}"));
            client.clock.advance(1000);
        }
        let history = client.run("LATENCY HISTORY command");
        assert_eq!(history.items().len(), 3);
        for (sample, (at, ms)) in history.items().iter().zip([(0, 300), (2, 500), (3, 400)]) {
            let [second, took] = numbers(sample)[..] else { panic!("time and latency") };
            assert_eq!(second, at_s + at);
            assert!(took >= ms, "{took}");
        }
        let latest = client.run("LATENCY LATEST");
        let [event] = latest.items() else { panic!("one event") };
        assert_eq!(event.items()[..2], [Reply::bulk("command"), Reply::Integer(at_s + 3)]);
        assert!(event.items()[3].int() >= 500);
        let graph = client.run("LATENCY GRAPH command").text();
        assert!(graph.starts_with("command - high ") && graph.contains(" ms, low "), "{graph}");
        assert!(client.run("LATENCY DOCTOR").text().starts_with("command: in 3 seconds"));
        assert_eq!(client.run("LATENCY RESET other"), Reply::Integer(0));
        assert_eq!(client.run("LATENCY RESET COMMAND other"), Reply::Integer(1));
        assert_eq!(client.run("LATENCY HISTORY command"), Reply::Array(vec![]));
        assert_eq!(client.run("LATENCY GRAPH command"), Reply::error("ERR No samples available for event 'command'"));
    }

    #[test]
    fn histograms_tell_how_many_calls_took_how_long() {
        let mut client = TestClient::resp3();
        assert_eq!(client.run("LATENCY HISTOGRAM nosuch get"), Reply::Map(vec![]));
        for line in ["SET a 1", "SET a 2", "CLIENT ID", "CLIENT GETNAME", "DEBUG SLEEP 0.5"] {
            client.run(line);
        }
        let all = client.run("LATENCY HISTOGRAM");
        assert_eq!(all.field("set").field("calls"), &Reply::Integer(2));
        assert_eq!(all.field("latency|histogram").field("calls"), &Reply::Integer(1));
        let Reply::Map(of_clients) = client.run("LATENCY HISTOGRAM client nosuch") else { panic!("a map") };
        assert_eq!(of_clients.iter().map(|(name, _)| name.text()).collect::<Vec<_>>(), ["client|getname", "client|id"]);
        let slept = client.run("LATENCY HISTOGRAM debug");
        let Reply::Map(counts) = slept.field("debug").field("histogram_usec") else { panic!("a map") };
        assert_eq!(*counts, [(Reply::Integer(536_870), Reply::Integer(1))]);
        // More than are all timed: those that are stand for the others.
        (0..1000).for_each(|_| drop(client.run("GET a")));
        let gets = client.run("LATENCY HISTOGRAM get");
        assert_eq!(gets.field("get").field("calls"), &Reply::Integer(1000));
        let Reply::Map(counts) = gets.field("get").field("histogram_usec") else { panic!("a map") };
        assert_eq!(counts.last().expect("some").1, Reply::Integer(1000));
        client.run("CONFIG RESETSTAT");
        let Reply::Map(after) = client.run("LATENCY HISTOGRAM") else { panic!("a map") };
        assert_eq!(after.iter().map(|(name, _)| name.text()).collect::<Vec<_>>(), ["config|resetstat"]);
    }

    #[test]
    fn info_tells_percentiles_of_the_commands_that_are_tracked() {
        let mut client = TestClient::new();
        client.run("SET a 1");
        client.run("DEBUG SLEEP 1");
        let stats = client.run("INFO latencystats").text();
        assert!(
            stats.contains("latency_percentiles_usec_debug:p50=1006632.960,p99=1006632.960,p99.9=1006632.960\r\n"),
            "{stats}"
        );
        assert!(stats.contains("latency_percentiles_usec_set:p50="), "{stats}");
        client.run("CONFIG SET latency-tracking-info-percentiles '100 0.10'");
        let stats = client.run("INFO latencystats").text();
        assert!(stats.contains("latency_percentiles_usec_debug:p100=1006632.960,p0.1=1006632.960\r\n"), "{stats}");
        client.run("CONFIG SET latency-tracking no");
        client.run("CONFIG RESETSTAT");
        client.run("SET a 1");
        assert_eq!(client.run("INFO latencystats"), Reply::bulk("# Latencystats\r\n"));
        assert_eq!(client.run("LATENCY HISTOGRAM"), Reply::Array(vec![]));
    }

    #[test]
    fn what_is_evicted_for_a_long_time_is_an_event() {
        let mut client = TestClient::new();
        client.run("CONFIG SET latency-monitor-threshold 1");
        client.with_ctx(|ctx| super::note(ctx, "eviction-cycle", std::time::Duration::from_millis(7)));
        assert_eq!(client.run("LATENCY HISTORY eviction-cycle").items().len(), 1);
        assert!(client.run("LATENCY DOCTOR").text().contains("maxmemory"));
    }
}
