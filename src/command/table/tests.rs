//! Claims about the joined table.

use super::*;
use crate::command::KeySpec;
use crate::command::testing::TestClient;
use crate::protocol::ArgSpans;
use std::collections::HashSet;

fn request(words: &[&str]) -> (Vec<u8>, ArgSpans) {
    let (mut buf, mut spans) = (Vec::new(), ArgSpans::new());
    for word in words {
        spans.push(buf.len() as u32, word.len() as u32);
        buf.extend_from_slice(word.as_bytes());
    }
    (buf, spans)
}

fn resolved(words: &[&str]) -> Result<Found, CommandError> {
    let (buf, spans) = request(words);
    resolve(spans.args(&buf))
}

fn refusal(words: &[&str]) -> String {
    resolved(words).err().expect("refused").0.into_owned()
}

/// Every command is found by its own name in any case, under its own number, and by no neighbour of its name.
#[test]
fn every_command_is_found_whatever_its_case() {
    for found in all().filter(|found| found.container.is_none()) {
        let name = found.spec.name;
        let mixed: String =
            name.char_indices().map(|(i, c)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect();
        for spelling in [name, &name.to_ascii_uppercase(), &mixed] {
            let spec = find(spelling.as_bytes()).unwrap_or_else(|| panic!("{spelling} is not found"));
            assert!(std::ptr::eq(spec, found.spec), "{spelling} leads to {}", spec.name);
            assert_eq!(find_slot(spelling.as_bytes()).expect("found").id, found.id.0);
        }
        for i in 0..name.len() {
            let mut other = name.as_bytes().to_vec();
            // The bit that case differs in, and one that it does not: a match may forgive only the first, and only for letters.
            for bit in [0x80, 0x01, 0x20] {
                other[i] ^= bit;
                let same = other.eq_ignore_ascii_case(name.as_bytes());
                let hit = find(&other);
                assert_eq!(hit.is_some_and(|spec| spec.name == name), same, "{:?}", String::from_utf8_lossy(&other));
                other[i] ^= bit;
            }
        }
        assert!(find(format!("{name}x").as_bytes()).is_none_or(|spec| spec.name != name));
    }
    assert!(find(b"").is_none());
    assert!(find(&[b'a'; 40]).is_none());
    assert_eq!(all().count(), ID_COUNT);
}

#[test]
fn lower_case_is_that_of_ascii() {
    for byte in 0..=255u8 {
        let word = u64::from_le_bytes([byte, b'Z', 0xff, byte, 0, b'@', b'[', byte]);
        let expected = word.to_le_bytes().map(|b| b.to_ascii_lowercase());
        assert_eq!(to_lower(word).to_le_bytes(), expected, "{byte:#x}");
    }
}

#[test]
fn specs_are_sane() {
    let mut names = HashSet::new();
    for found in all() {
        let (name, spec) = (found.full_name(), found.spec);
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert_eq!(name, name.to_ascii_lowercase());
        assert!(!spec.summary.is_empty() && !spec.complexity.is_empty() && !spec.since.is_empty(), "{name} lacks docs");
        let flags = spec.flags;
        assert!(!flags.contains(Flags::WRITE | Flags::READONLY), "{name} both reads and writes");
        assert!(
            !flags.contains(Flags::DENYOOM) || flags.contains(Flags::WRITE),
            "{name} is refused when full but does not write"
        );
        assert!(!(flags.contains(Flags::ADMIN) && flags.contains(Flags::FAST)), "{name} is administrative and fast");
        if found.container.is_some() {
            assert!(spec.subcommands.is_empty(), "{name} nests too deep");
            assert!(spec.arity.as_redis().unsigned_abs() >= 2, "{name} counts the container's name");
        }
    }
}

/// A command with as few arguments as its arity allows has its first key among them.
#[test]
fn keys_are_within_the_arity() {
    for found in all() {
        let (name, least) = (found.full_name(), found.spec.arity.as_redis().unsigned_abs() as isize);
        match found.spec.keys {
            KeySpec::None => {}
            KeySpec::Range { first, last, step } => {
                assert!(first >= 1 && step >= 1, "{name}");
                // Without names SUNSUBSCRIBE is about all channels there are.
                let is_optional = name == "sunsubscribe";
                assert!((first as isize) < least || is_optional, "{name}: its first key may be missing");
                assert!(last < 0 || (last >= first as isize && last < least), "{name}: its last key may be missing");
            }
            KeySpec::Counted { at } => assert!(at >= 1 && (at as isize) < least, "{name}: its count may be missing"),
            KeySpec::OneAndStored { first, from } => {
                assert!(first >= 1 && first < from && (from as isize) <= least, "{name}: its key may be missing");
            }
            KeySpec::TargetAndCounted { target, at } => {
                assert!(target >= 1 && target < at && (at as isize) < least, "{name}: its count may be missing");
            }
        }
    }
}

/// Commands that write but name no key: they touch whole databases, or the pool itself.
const KEYLESS_WRITES: &[&str] = &["flushall", "flushdb", "swapdb", "function|flush", "function|delete"];

#[test]
fn every_write_names_its_keys() {
    for found in all().filter(|found| found.spec.flags.contains(Flags::WRITE)) {
        let name = found.full_name();
        let keyless = found.spec.keys == KeySpec::None;
        assert_eq!(keyless, KEYLESS_WRITES.contains(&name.as_str()), "{name}");
    }
}

/// A handler that fails halfway leaves nothing but its error, and is counted as failed.
#[test]
fn an_error_takes_back_what_was_written() {
    static HALF: CommandSpec =
        CommandSpec::new("half", "", crate::command::Group::Server, crate::command::Arity::Exact(1), |ctx, _| {
            ctx.reply.array_header(2);
            ctx.reply.integer(1);
            Err(CommandError::SYNTAX)
        });
    let mut client = TestClient::new();
    let id = resolved(&["get", "a"]).map(|found| found.id).expect("found");
    let (buf, spans) = request(&["half"]);
    let written = client.with_ctx(|ctx| {
        ctx.reply.ok();
        assert_eq!(run(ctx, &Found { spec: &HALF, container: None, id }, spans.args(&buf)), Err(CommandError::SYNTAX));
    });
    assert_eq!(written, b"+OK\r\n-ERR syntax error\r\n");
    let totals = client.direct.shared.stats.command(id);
    assert_eq!((totals.calls, totals.failed, totals.rejected), (1, 1, 0));
}

/// What is timed stands for all calls: the weights add up to the number of calls.
#[test]
fn sampled_times_stand_for_every_call() {
    const CALLS: u64 = 16_000;
    let timed = |flags, attention| {
        let weights: Vec<u64> = (0..CALLS).map(|calls| timing_weight(calls, flags, attention)).collect();
        let sum: u64 = weights.iter().sum();
        assert!(sum.abs_diff(CALLS) <= TIMED_ONE_IN, "{sum}");
        weights.iter().filter(|&&weight| weight > 0).count() as u64
    };
    assert_eq!(timed(Flags::READONLY, Attention::empty()), CALLS);
    assert_eq!(timed(Flags::FAST, Attention::TIMES), CALLS);
    assert!(timed(Flags::FAST, Attention::empty()) < CALLS / 10);
}

#[test]
fn an_unknown_command_is_answered_in_the_words_of_redis() {
    assert_eq!(refusal(&["foo"]), "ERR unknown command 'foo', with args beginning with: ");
    assert_eq!(refusal(&["foo", "a", "b"]), "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
    let long = "x".repeat(300);
    let clipped = "x".repeat(128);
    assert_eq!(
        refusal(&[&long, &long, "b"]),
        format!("ERR unknown command '{clipped}', with args beginning with: '{clipped}' ")
    );
    assert_eq!(refusal(&[]), "ERR unknown command '', with args beginning with: ");
}
