//! One schedule: a workload run by its workers under a seeded scheduler and a recorder.

use super::check::ReadOut;
use super::engine::{Connection, complaints, empty_pool, keys, read_out, recover};
use super::history::{Call, Contents, Touches};
use super::schedule::{Scheduler, Stuck, SwitchPoints};
use super::workload::{START_MS, Step, Theme, Workload};
use fencepost::cleaner::{CleanStep, Demand};
use fencepost::command::Shared;
use fencepost::store::{PACKED_BYTES, Store};
use fencepost_harness::{Command, Frame, Seed, command};
use pmem_emulation::{Both, EventKind, Note, Recorder, RecorderOptions, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Operations of one worker are numbered from its number times this.
const OPS_PER_WORKER: u64 = 1_000;

/// Steps that the cleaner takes in a row.
const CLEAN_STEPS: usize = 4;

/// What a schedule has left.
pub struct Run {
    /// What it was about.
    pub theme: Theme,
    /// What the store held before the workers began.
    pub start: Contents,
    /// Every call.
    pub calls: Vec<Call>,
    /// Everything that happened to the region meanwhile.
    pub trace: Trace,
    /// What the store holds now, without any crash.
    pub end: ReadOut,
    /// What went wrong on the way: a panic, a deadlock, a rule of the recorder.
    pub failures: Vec<String>,
    /// Whether the pool had no room for some command: then replies are not those of the model.
    pub was_full: bool,
    /// The schedule, for people.
    pub schedule: String,
    /// Places where threads might have changed.
    pub steps: u64,
}

/// One operation as its worker saw it.
struct Operation {
    id: u64,
    worker: usize,
    db: usize,
    now_ms: u64,
    until_ms: u64,
    asked: Asked,
    /// Empty while it is not answered.
    replies: Vec<Frame>,
}

enum Asked {
    /// A command; the operation of the same pipeline before it.
    Command(Command, Option<u64>),
    /// Several commands between MULTI and EXEC.
    Transaction(Vec<Command>),
    /// A whole SCAN.
    Scan,
}

/// What the workers of a schedule share.
struct Stage {
    store: Store,
    operations: Mutex<Vec<Operation>>,
    panics: Mutex<Vec<String>>,
}

impl Stage {
    fn operations(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, note: Note) {
        self.store.pool().region().note(note);
    }

    /// Writes down what is asked from operation `first` on, and the time it goes by.
    fn begin(&self, first: u64, worker: usize, db: usize, asked: Vec<Asked>) -> u64 {
        let mut operations = self.operations();
        let now_ms = self.store.clock().now_ms();
        for (id, asked) in (first..).zip(asked) {
            operations.push(Operation { id, worker, db, now_ms, until_ms: u64::MAX, asked, replies: Vec::new() });
        }
        now_ms
    }

    fn answer(&self, id: u64, replies: Vec<Frame>) {
        if let Some(operation) = self.operations().iter_mut().find(|operation| operation.id == id) {
            operation.replies = replies;
            operation.until_ms = self.store.clock().now_ms();
        }
    }

    fn work(&self, worker: usize, connection: &mut Connection, step: &Step) {
        match step {
            Step::Tick(by_ms) => self.store.clock().advance(*by_ms),
            Step::Expire => {
                self.store.expire_cycle(self.store.clock().now_ms(), Duration::MAX);
            }
            Step::Reap => {
                self.store.reap(Duration::from_secs(3600));
            }
            Step::Clean => {
                for _ in 0..CLEAN_STEPS {
                    let _whatever = self.store.clean_step(Demand::Now);
                }
            }
            Step::Seal => connection.seal(&self.store),
            Step::Scan(db) => {
                let id = self.next_id(worker);
                self.note(Note::Begin(id));
                let now_ms = self.begin(id, worker, *db, vec![Asked::Scan]);
                let mut replies = Vec::new();
                let mut cursor = b"0".to_vec();
                loop {
                    let scan = command(&[&b"SCAN"[..], &cursor, b"COUNT", b"1"]);
                    let reply = connection.run(&self.store, *db, now_ms, &[scan]).remove(0);
                    cursor = reply.items().and_then(|items| items[0].bytes()).expect("SCAN tells a cursor").to_vec();
                    replies.push(reply);
                    if cursor == b"0" {
                        break;
                    }
                }
                self.answer(id, replies);
                self.note(Note::Ack(id));
            }
            Step::Requests(db, commands) => self.requests(worker, connection, *db, commands),
            Step::Transaction(db, commands) => {
                let id = self.next_id(worker);
                self.note(Note::Begin(id));
                let now_ms = self.begin(id, worker, *db, vec![Asked::Transaction(commands.clone())]);
                let requests = [&[command(&["MULTI"])], commands.as_slice(), &[command(&["EXEC"])]].concat();
                let reply = connection.run(&self.store, *db, now_ms, &requests).pop();
                self.answer(id, reply.into_iter().collect());
                self.note(Note::Ack(id));
            }
        }
    }

    fn next_id(&self, worker: usize) -> u64 {
        let mine = self.operations().iter().filter(|operation| operation.worker == worker).count() as u64;
        worker as u64 * OPS_PER_WORKER + mine
    }

    fn requests(&self, worker: usize, connection: &mut Connection, db: usize, commands: &[Command]) {
        let first = self.next_id(worker);
        let ids = first..first + commands.len() as u64;
        ids.clone().for_each(|id| self.note(Note::Begin(id)));
        let asked = ids.clone().zip(commands).map(|(id, command)| {
            let before = (id > first).then(|| id - 1);
            Asked::Command(command.clone(), before)
        });
        let now_ms = self.begin(first, worker, db, asked.collect());
        let replies = connection.run(&self.store, db, now_ms, commands);
        for (id, reply) in ids.clone().zip(replies) {
            self.answer(id, vec![reply]);
        }
        ids.for_each(|id| self.note(Note::Ack(id)));
    }
}

/// Runs a workload under the schedule of a seed. `name` is what its threads are called, so that a panic's message names it.
///
/// # Panics
/// If an empty pool does not open.
pub fn run(workload: Workload, seed: u64, name: &str, shared: &Arc<Shared>) -> Run {
    let Workload { theme, before, workers } = workload;
    let recorder = Recorder::new(RecorderOptions::default());
    let hook = Arc::new(Both(Arc::new(SwitchPoints), Arc::clone(&recorder) as _));
    let store = recover(empty_pool(theme.cleans()), START_MS, Some(hook)).expect("an empty pool opens");
    // A record for each element, records that are soon outgrown, or one for each collection.
    store.set_packed_bytes(*Seed(seed).rng(0x9ac).pick(&[0, 0, 24, PACKED_BYTES]));
    let mut connections: Vec<Connection> =
        (0..workers.len()).map(|number| Connection::new(Arc::clone(shared), number, &store)).collect();
    for (db, command) in before {
        connections[0].run(&store, db, START_MS, &[command]);
        if theme.cleans() {
            connections[0].seal(&store);
        }
    }
    recorder.restart();
    let start = read_out(&store);
    let stage = Arc::new(Stage { store, operations: Mutex::default(), panics: Mutex::default() });
    let scheduler = Scheduler::new(workers.len(), seed);
    let threads: Vec<_> = workers
        .into_iter()
        .zip(connections)
        .enumerate()
        .map(|(me, (steps, mut connection))| {
            let (scheduler, stage) = (Arc::clone(&scheduler), Arc::clone(&stage));
            let body = move || {
                scheduler.run(me, || {
                    let work = || steps.iter().for_each(|step| stage.work(me, &mut connection, step));
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                        stage.panics.lock().unwrap_or_else(PoisonError::into_inner).push(text_of(&*panic));
                    }
                });
            };
            std::thread::Builder::new().name(format!("{name}, thread {me}")).spawn(body).expect("a thread")
        })
        .collect();
    let stuck = scheduler.wait_for_end();
    let mut failures: Vec<String> = Vec::new();
    match stuck {
        // Its threads wait for ever, and keep what they use.
        Some(Stuck::Deadlock) => failures.push("deadlock: every thread waits for a lock".into()),
        Some(Stuck::NoProgress) => failures.push("no progress: threads wait for each other by spinning".into()),
        None => threads.into_iter().for_each(|thread| thread.join().expect("panics were caught")),
    }
    let panics = std::mem::take(&mut *stage.panics.lock().unwrap_or_else(PoisonError::into_inner));
    failures.extend(panics.into_iter().map(|text| format!("panic: {text}")));
    failures.extend(recorder.errors().iter().map(ToString::to_string));
    let trace = recorder.trace();
    assert!(!trace.is_truncated(), "a schedule is short");
    let calls = calls_of(&stage.operations(), &trace);
    let is_oom = |reply: &Frame| matches!(reply, Frame::Error(text) if text.starts_with(b"OOM"));
    let is_full = |call: &Call| {
        let reply = call.reply.as_ref();
        reply.is_some_and(|reply| is_oom(reply) || reply.items().is_some_and(|items| items.iter().any(is_oom)))
    };
    let end = match stuck {
        None => ReadOut { contents: read_out(&stage.store), now_ms: stage.store.clock().now_ms() },
        Some(_) => ReadOut { contents: Contents::new(), now_ms: 0 },
    };
    if stuck.is_none() && failures.is_empty() {
        failures.extend(complaints(&stage.store));
        clean_to_the_end(&stage.store);
        failures.extend(stage.store.check_books().err());
    }
    Run {
        theme,
        start,
        was_full: calls.iter().any(is_full),
        calls,
        trace,
        end,
        failures,
        schedule: scheduler.describe(),
        steps: scheduler.steps(),
    }
}

/// Until nothing is left to be cleaned, or in the middle of it.
fn clean_to_the_end(store: &Store) {
    // Ends: other threads are not pinned for ever.
    loop {
        match store.clean_step(Demand::Now) {
            CleanStep::Worked => {}
            CleanStep::Waiting => std::thread::yield_now(),
            CleanStep::Idle => return,
        }
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").to_owned()
}

/// The calls of the operations, their times taken from the trace.
fn calls_of(operations: &[Operation], trace: &Trace) -> Vec<Call> {
    let mut times: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for (position, event) in trace.events().iter().enumerate() {
        match event.kind {
            EventKind::Note(Note::Begin(op)) => drop(times.insert(op, (position, usize::MAX))),
            EventKind::Note(Note::Ack(op)) => times.entry(op).or_default().1 = position,
            _ => {}
        }
    }
    let mut calls: Vec<Call> = Vec::new();
    let mut places: BTreeMap<u64, usize> = BTreeMap::new();
    for operation in operations {
        let Operation { id: op, worker: client, db, now_ms, until_ms, asked, replies } = operation;
        let Some(&(invoked, returned)) = times.get(op) else { continue };
        let call = |command: Command, more: Vec<Command>, reply: Option<Frame>, after| Call {
            op: *op,
            client: *client,
            db: *db,
            now_ms: *now_ms,
            until_ms: *until_ms,
            touches: Touches::of_all(*db, &[std::slice::from_ref(&command), &more].concat()),
            command,
            more,
            invoked,
            returned,
            reply,
            after,
        };
        match asked {
            Asked::Command(command, before) if command[0] != b"KEYS" => {
                places.insert(*op, calls.len());
                let after = before.and_then(|before| places.get(&before).copied());
                calls.push(call(command.clone(), Vec::new(), replies.first().cloned(), after));
            }
            Asked::Transaction(commands) => {
                let (first, more) = commands.split_first().expect("a transaction of something");
                calls.push(call(first.clone(), more.to_vec(), replies.first().cloned(), None));
            }
            _ => calls.extend(seen_by_scan(replies).into_iter().map(|(key, there)| {
                call(command(&[&b"EXISTS"[..], &key]), Vec::new(), Some(Frame::Integer(there.into())), None)
            })),
        }
    }
    calls
}

/// What a SCAN (or KEYS) says of each key: one that it names was there at some moment of it, one that it does not name was not there at some
/// moment. That is all that it promises.
fn seen_by_scan(replies: &[Frame]) -> Vec<(Vec<u8>, bool)> {
    if replies.is_empty() {
        return Vec::new();
    }
    let names = replies.iter().flat_map(|reply| match reply.items() {
        Some([_, Frame::Array(names)]) => names.as_slice(),
        Some(names) => names,
        None => &[],
    });
    let named: BTreeSet<&[u8]> = names.filter_map(Frame::bytes).collect();
    keys().iter().map(|key| (key.clone().into_bytes(), named.contains(key.as_bytes()))).collect()
}
