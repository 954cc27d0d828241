//! The verdict on one crash image: what recovery must make of it.
//!
//! 1. It opens, and nothing in it is taken for damage.
//! 2. It holds what one of the allowed states holds, whole; what a reply has shown to have expired is not there.
//! 3. `pool check` finds nothing, and the books agree: keys, live bytes, free segments.
//! 4. What the index leads to is what a plain reading of the whole log leads to ([`crate::logview`]).
//! 5. Recovering once more changes nothing.
//! 6. Life goes on: what is written and deleted now is written and deleted after the next crash, and nothing else has changed.
//!
//! The first three are looked at for every image, the others where `thorough` is asked for.

use crate::engine::{Driver, Engine, Machine, Refusal};
use crate::logview;
use crate::recording::Gone;
use crate::state::State;
use crate::workload::{Step, steps};
use fencepost::base::SegmentId;
use fencepost::pool::PoolError;
use fencepost::recovery::tools::check_pool;
use fencepost::store::Store;
use pmem_emulation::Hook;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

/// What may be found.
pub struct Expected<'a> {
    /// The states that are allowed, the one without anything in flight first.
    pub states: &'a [State],
    /// The time of the crash: what expires before it may be gone.
    pub now_ms: u64,
    /// Keys and fields that must not come back.
    pub gone: &'a Gone,
    /// Whether there may be no pool yet.
    pub may_be_missing: bool,
    /// What it is recovered on.
    pub machine: Machine,
}

/// What a run goes on with after a crash.
pub static CONTINUATION: LazyLock<Vec<Step>> = LazyLock::new(|| {
    steps(["SET after @150z", "SET a @9y | DEL b", "!clean", "SET l @1500x", "DEL c", "!seal", "!clean"])
});

/// Judges an image; a panic is a verdict too. `hook` is on the region of the first recovery.
///
/// # Errors
/// What is wrong with what recovery made of it.
pub fn judge(
    image: &[u8],
    expected: &Expected<'_>,
    thorough: bool,
    hook: Option<&Arc<dyn Hook>>,
    driver: &mut Driver,
) -> Result<(), String> {
    let verdict = catch_unwind(AssertUnwindSafe(|| look_at(image, expected, thorough, hook, driver)));
    verdict.unwrap_or_else(|panic| Err(format!("a panic: {}", text_of(&*panic))))
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

fn look_at(
    image: &[u8],
    expected: &Expected<'_>,
    thorough: bool,
    hook: Option<&Arc<dyn Hook>>,
    driver: &mut Driver,
) -> Result<(), String> {
    let engine = match Engine::recover(image, expected.machine, hook.cloned()) {
        Ok(engine) => engine,
        Err(Refusal::Pool(PoolError::NotAPool { .. } | PoolError::SuperblocksDamaged { .. }))
            if expected.may_be_missing =>
        {
            return Ok(());
        }
        Err(refusal) => return Err(refusal.to_string()),
    };
    let found = State::of(&engine.store);
    fits(&found, expected, engine.now_ms())?;
    books_agree(&engine.store, &found)?;
    let check = check_pool(engine.store.pool());
    if let Some(damage) = check.damage.first() {
        return Err(format!("after recovery `pool check` says: {damage}"));
    }
    if !thorough {
        return Ok(());
    }
    let read = logview::read(engine.store.pool());
    if read != found {
        return Err(format!("the index does not lead to what the log holds: {}", found.difference(&read)));
    }
    let image = engine.image();
    drop(engine);
    goes_on(&image, expected.machine, &found, driver)
}

/// Whether what was found is allowed. `clock_ms` is where recovery has set the clock: what has expired by then is shown to nobody.
fn fits(found: &State, expected: &Expected<'_>, clock_ms: u64) -> Result<(), String> {
    let Expected { states, now_ms, gone, .. } = *expected;
    let allowed = |state: &State| found.same_at(state, now_ms) && state.has_expired_of(found, now_ms);
    if !states.iter().any(allowed) {
        let differences: Vec<String> = states.iter().map(|state| found.difference(state)).collect();
        return Err(format!("at {now_ms} recovery finds no state that is allowed: {}", differences.join(" / or ")));
    }
    match found.expired_at(now_ms).find(|expired| expired.1 > clock_ms && gone.contains(expired)) {
        Some((((db, name), field), _)) => {
            let field = field.map(|field| format!(" {}", field.escape_ascii())).unwrap_or_default();
            Err(format!("{db}:{}{field} has come back after a reply showed it gone", name.escape_ascii()))
        }
        None => Ok(()),
    }
}

/// Whether the counters say what there is.
fn books_agree(store: &Store, found: &State) -> Result<(), String> {
    for db in 0..store.databases() {
        let keys = found.0.range((db, Vec::new())..(db + 1, Vec::new())).count() as u64;
        if store.len(db) != keys {
            return Err(format!("DBSIZE of {db} is {}, but it has {keys} keys", store.len(db)));
        }
    }
    let pool = store.pool();
    let (mut free, mut live) = (0, 0);
    for number in 0..pool.segment_count() {
        let usage = pool.segment_use(SegmentId(number));
        free += u32::from(!usage.in_use());
        live += usage.live_bytes;
        if usage.live_bytes > usage.used_bytes || usage.used_bytes > pool.segment_bytes() {
            return Err(format!("segment {number} cannot be used as {usage:?}"));
        }
    }
    if free != pool.free_segments() {
        return Err(format!("{free} segments are free, but {} are counted", pool.free_segments()));
    }
    let referred = live_bytes(store);
    if live != referred {
        return Err(format!("{live} bytes are counted as live, but keys refer to {referred}"));
    }
    Ok(())
}

/// The bytes of all records that keys refer to.
fn live_bytes(store: &Store) -> u64 {
    let guard = crossbeam_epoch::pin();
    let mut live = 0;
    for db in 0..store.databases() {
        let mut cursor = 0;
        loop {
            cursor = store.scan(db, cursor, 0, &guard, &mut |entry| {
                live += entry.pool_bytes();
            });
            if cursor == 0 {
                break;
            }
        }
    }
    live
}

/// Recovers again from what the first recovery has left, writes and deletes, and recovers once more.
fn goes_on(image: &[u8], machine: Machine, found: &State, driver: &mut Driver) -> Result<(), String> {
    // On a disk everything is synced by the opening: it may be cut by another loss of power.
    let machine = if machine.disk { machine.rebooted() } else { machine };
    let mut engine = Engine::recover(image, machine, None).map_err(|refusal| format!("the second time {refusal}"))?;
    let again = State::of(&engine.store);
    if again != *found {
        return Err(format!("recovering twice differs from once: {}", again.difference(found)));
    }
    driver.reconnect();
    let mut expected = found.clone();
    for step in CONTINUATION.iter() {
        let replies = step.run(&mut engine, driver);
        follow(step, &replies, &mut expected);
    }
    let after = State::of(&engine.store);
    if after != expected {
        return Err(format!("after going on {}", after.difference(&expected)));
    }
    let image = engine.image();
    drop(engine);
    let engine = Engine::recover(&image, machine, None).map_err(|refusal| format!("after going on {refusal}"))?;
    let recovered = State::of(&engine.store);
    if recovered != after {
        return Err(format!("after going on and a further crash {}", recovered.difference(&after)));
    }
    books_agree(&engine.store, &recovered)
}

/// What the continuation does to a state: SET and DEL, where they were not refused for want of room.
fn follow(step: &Step, replies: &[u8], state: &mut State) {
    let mut replies = replies.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    for request in step.requests() {
        // Refused; or all fields of the hash there have expired, so that DEL does not see it.
        if replies.next().is_some_and(|reply| reply.starts_with(b"-") || reply.starts_with(b":0")) {
            continue;
        }
        let name = (0, request[1].clone());
        if request[0] == b"SET" {
            let bytes = request[2].clone();
            let raw = bytes.len() > crate::engine::SEGMENT_BYTES as usize / 4;
            let (kind, fields) = ("string", Default::default());
            state.0.insert(name, crate::state::Value { kind, bytes, fields, raw, expire_at: None });
        } else {
            state.0.remove(&name);
        }
    }
}
