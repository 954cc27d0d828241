//! TIME and LOLWUT.

use super::FENCEPOST_VERSION;
use crate::command::parse::{integer_arg, is_word};
use crate::command::{Arity, CommandError, CommandSpec, Ctx, Flags, Group, REDIS_VERSION};
use crate::protocol::Args;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        summary: "Gives the Unix time in seconds, and the microseconds of the second.",
        flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        ..CommandSpec::new("time", "2.6.0", Group::Server, Arity::Exact(1), time)
    },
    CommandSpec {
        summary: "Draws something, and names the version.",
        complexity: "O(N) for a fence of N posts",
        flags: Flags::READONLY.union(Flags::FAST),
        ..CommandSpec::new("lolwut", "5.0.0", Group::Server, Arity::AtLeast(1), lolwut)
    },
];

fn time(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    // The clock that expiry goes by counts milliseconds; the digits below come from the system's.
    let now_ms = ctx.shared.clock.now_ms();
    let below_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_micros() % 1000);
    ctx.reply.array_header(2);
    ctx.reply.bulk_display(now_ms / 1000);
    ctx.reply.bulk_display(now_ms % 1000 * 1000 + u64::from(below_ms));
    Ok(())
}

/// Posts of the fence: as many as fit a terminal's line, and as many as anyone could want.
const DEFAULT_POSTS: i64 = 12;
const MAX_POSTS: i64 = 100;

fn lolwut(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = match args.get(1) {
        Some(word) if is_word(word, "VERSION") => {
            integer_arg(args.get(2).ok_or(CommandError::SYNTAX)?)?;
            args.from(3)
        }
        _ => args.from(1),
    };
    let posts = options.get(0).map_or(Ok(DEFAULT_POSTS), integer_arg)?.clamp(2, MAX_POSTS);
    let mut drawing = fence(posts as usize, ctx.now_ms);
    let _infallible = writeln!(
        drawing,
        "\nEvery write is behind the fence. Fencepost ver. {FENCEPOST_VERSION}, after Redis ver. {REDIS_VERSION}"
    );
    ctx.reply.verbatim("txt", drawing.as_bytes());
    Ok(())
}

/// A fence of so many posts before hills that `seed` shapes.
fn fence(posts: usize, mut seed: u64) -> String {
    const SKY_LINES: usize = 4;
    let width = posts * 6 - 5;
    let mut height = 2i64;
    let mut hills = vec![0; width];
    for hill in &mut hills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        height = (height + (seed >> 62) as i64 % 3 - 1).clamp(0, SKY_LINES as i64 - 1);
        *hill = height as usize;
    }
    let mut drawing = String::new();
    for line in (0..SKY_LINES).rev() {
        drawing.extend(hills.iter().map(|&hill| if hill == line { '~' } else { ' ' }));
        drawing.push('\n');
    }
    for between in ["     ", "=====", "     ", "=====", "....."] {
        let post = if between.starts_with('.') { "#" } else { "|" };
        drawing.push_str(&vec![post; posts].join(between));
        drawing.push('\n');
    }
    drawing
}
