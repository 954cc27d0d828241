//! One run of a workload without a crash: the trace, and what the store has to hold after each request.
//!
//! A workload runs twice. The reference run takes the requests one by one and writes down the logical state after each, so the oracle
//! needs no model of what commands do. At each of its fences a probe looks at the store as a reader would: nothing of the request
//! may be visible before it is durable. The recorded run sends each step as one pipeline, under the recorder; its replies and its states must be
//! those of the reference.

use crate::engine::{Driver, Engine, Machine, Refusal, Request};
use crate::recycle::recycle;
use crate::rules;
use crate::state::{Expired, State};
use crate::violation::Level;
use crate::workload::{Action, Start, Step, Workload};
use fencepost::command::{Flags, KeySpec, find};
use fencepost::store::{Fsync, Store, in_transaction};
use pmem_emulation::{Call, Event, EventKind, Hook, Note, Recorder, RecorderOptions, Trace};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// Steps from one sync to the next where there is one each second.
const STEPS_A_SECOND: usize = 3;

/// Keys and fields that a reply has shown to have expired, and when they did.
pub type Gone = BTreeSet<(Expired, u64)>;

/// What a workload did.
pub struct Recording {
    pub trace: Trace,
    /// The state before the first request and after each.
    pub states: Vec<State>,
    /// For each number of steps done, the state that they left: an index into `states`.
    pub ends: Vec<usize>,
    /// For each number of steps done, the clock then.
    pub times: Vec<u64>,
    /// For each number of steps done, what replies have shown to be gone.
    pub gone: Vec<Gone>,
    /// Where the file was synced: position behind it, and steps acknowledged then.
    pub syncs: Vec<(usize, usize)>,
    /// The position from which on there is a pool: 0 unless it is made in the trace.
    pub created_at: usize,
    /// What it ran on.
    pub machine: Machine,
    /// When the file was synced, if it was one.
    pub fsync: Option<Fsync>,
    /// What went wrong without any crash.
    pub found: Vec<(Level, String)>,
    /// The names of commands that succeeded, for the test that none is left out.
    #[cfg_attr(not(test), expect(dead_code, reason = "only a test asks"))]
    pub succeeded: BTreeSet<String>,
}

/// Looks at the store at each fence, before it completes.
struct Probe {
    store: OnceLock<Weak<Store>>,
    /// The state that readers must see, and the time.
    expected: Mutex<Option<(State, u64)>>,
    found: Mutex<Option<String>>,
}

impl Probe {
    fn new() -> Arc<Self> {
        Arc::new(Self { store: OnceLock::new(), expected: Mutex::default(), found: Mutex::default() })
    }

    /// From now on readers must see just this until told otherwise.
    fn expect(&self, state: Option<(State, u64)>) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn take(&self) -> Option<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn look(&self, call: Call<'_>) {
        // Others wait until the transaction is over; this thread would see what it does.
        if in_transaction() {
            return;
        }
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some((expected, now_ms)), Some(store)) = (&*expected, self.store.get().and_then(Weak::upgrade)) {
            let seen = State::of(&store);
            if !seen.same_at(expected, *now_ms) {
                let what = format!(
                    "before the fence at {} readers see what is not durable: {}",
                    call.site,
                    seen.difference(expected)
                );
                self.found.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
            }
        }
    }
}

impl Hook for Probe {
    fn fence(&self, call: Call<'_>, apply: &mut dyn FnMut()) {
        self.look(call);
        apply();
    }
}

/// What a recorded run begins with. Makes the same engine each time that it is asked.
enum Beginning<'a> {
    Workload(&'a Workload),
    Image(&'a [u8], Machine, Option<Fsync>),
}

impl Beginning<'_> {
    fn engine(&self, hook: Option<Arc<dyn Hook>>, driver: &mut Driver) -> Result<Engine, Refusal> {
        driver.reconnect();
        let machine = self.machine();
        let workload = match self {
            Self::Workload(workload) => workload,
            Self::Image(image, ..) => return Engine::recover(image, machine, hook),
        };
        let engine = match workload.start {
            Start::Nothing => Ok(Engine::create(workload.segments, machine, hook)),
            Start::Open => Ok(run_prelude(workload, machine, hook, driver)),
            Start::Killed | Start::Closed | Start::Recycled => {
                let mut engine = run_prelude(workload, machine, None, driver);
                if workload.start == Start::Closed {
                    engine.close();
                }
                driver.reconnect();
                let image = if workload.start == Start::Recycled { recycle(&engine) } else { engine.image() };
                Engine::recover(&image, machine, hook)
            }
        }?;
        engine.store.set_packed_bytes(workload.packed_bytes);
        Ok(engine)
    }

    fn machine(&self) -> Machine {
        match self {
            Self::Workload(Workload { disk: None, .. }) => Machine::PMEM,
            Self::Workload(_) => Machine::DISK,
            Self::Image(_, machine, _) => *machine,
        }
    }

    fn fsync(&self) -> Option<Fsync> {
        match self {
            Self::Workload(workload) => workload.disk,
            Self::Image(_, _, fsync) => *fsync,
        }
    }

    /// Whether what the engine did to become open is no part of the recording.
    fn is_open(&self) -> bool {
        matches!(self, Self::Workload(workload) if workload.start == Start::Open)
    }

    fn creates(&self) -> bool {
        matches!(self, Self::Workload(workload) if workload.start == Start::Nothing)
    }
}

fn run_prelude(workload: &Workload, machine: Machine, hook: Option<Arc<dyn Hook>>, driver: &mut Driver) -> Engine {
    let mut engine = Engine::create(workload.segments, machine, hook);
    engine.store.set_packed_bytes(workload.packed_bytes);
    for step in &workload.prelude {
        step.run(&mut engine, driver);
    }
    // What the recording begins with is there after any power cut.
    engine.sync();
    engine
}

impl Recording {
    /// Runs a workload.
    ///
    /// # Errors
    /// The engine does not open what a killed or closed one has left.
    pub fn of(workload: &Workload, driver: &mut Driver) -> Result<Self, Refusal> {
        Self::record(&Beginning::Workload(workload), &workload.steps, driver)
    }

    /// Recovers from what a crash has left, and goes on with these steps.
    ///
    /// # Errors
    /// The engine refuses it.
    pub fn of_image(
        image: &[u8],
        machine: Machine,
        fsync: Option<Fsync>,
        steps: &[Step],
        driver: &mut Driver,
    ) -> Result<Self, Refusal> {
        Self::record(&Beginning::Image(image, machine, fsync), steps, driver)
    }

    fn record(beginning: &Beginning<'_>, steps: &[Step], driver: &mut Driver) -> Result<Self, Refusal> {
        let Reference { states, ends, times, gone, mut found, replies, succeeded } =
            Reference::of(beginning, steps, driver)?;
        let recorder = Recorder::new(RecorderOptions::default());
        let mut engine = beginning.engine(Some(Arc::clone(&recorder) as Arc<dyn Hook>), driver)?;
        if beginning.is_open() {
            recorder.restart();
        }
        let store = Arc::clone(&engine.store);
        for (number, step) in steps.iter().enumerate() {
            store.pool().region().note(Note::Begin(number as u64));
            let answered = step.run(&mut engine, driver);
            // What is promised depends on when the file is synced, not on how it comes about.
            if beginning.fsync() == Some(Fsync::Always) && !step.requests().is_empty() {
                engine.sync();
            }
            store.pool().region().note(Note::Ack(number as u64));
            if beginning.fsync() == Some(Fsync::EverySec) && number % STEPS_A_SECOND == 1 {
                engine.sync();
            }
            if answered != replies[number] {
                let (one, other) = (answered.escape_ascii(), replies[number].escape_ascii());
                found.push((Level::Run, format!("`{step}` is answered {one} as a pipeline and {other} one by one")));
            }
            let (state, expected) = (State::of(&store), &states[ends[number + 1]]);
            if !state.same_at(expected, times[number + 1]) {
                let what = state.difference(expected);
                found.push((Level::Run, format!("`{step}` as a pipeline leaves {what}")));
            }
        }
        let trace = recorder.trace();
        let created = |event: &Event| matches!(event.kind, EventKind::Note(Note::RecoveryDone));
        let created_at = trace.events().iter().position(created).filter(|_| beginning.creates()).unwrap_or(0);
        assert!(!trace.is_truncated(), "workloads are small");
        // On a disk nothing depends on fences.
        let findings = if beginning.fsync().is_none() { recorder.findings() } else { Vec::new() };
        found.extend(findings.iter().map(|finding| (Level::Rule, finding.to_string())));
        found.extend(rules::check(&trace, store.pool()).into_iter().map(|what| (Level::Rule, what)));
        let syncs = syncs(&trace);
        let (machine, fsync) = (beginning.machine(), beginning.fsync());
        Ok(Self { trace, states, ends, times, gone, syncs, created_at, machine, fsync, found, succeeded })
    }
}

/// The syncs of a trace, and how many steps had been acknowledged at each.
fn syncs(trace: &Trace) -> Vec<(usize, usize)> {
    let mut acknowledged = 0;
    let mut syncs = Vec::new();
    for (number, event) in trace.events().iter().enumerate() {
        match event.kind {
            EventKind::Note(Note::Ack(_)) => acknowledged += 1,
            EventKind::Sync => syncs.push((number + 1, acknowledged)),
            _ => {}
        }
    }
    syncs
}

/// The run one by one.
struct Reference {
    states: Vec<State>,
    ends: Vec<usize>,
    times: Vec<u64>,
    gone: Vec<Gone>,
    found: Vec<(Level, String)>,
    /// Of each step.
    replies: Vec<Vec<u8>>,
    succeeded: BTreeSet<String>,
}

impl Reference {
    fn of(beginning: &Beginning<'_>, steps: &[Step], driver: &mut Driver) -> Result<Self, Refusal> {
        let probe = Probe::new();
        let mut engine = beginning.engine(Some(Arc::clone(&probe) as Arc<dyn Hook>), driver)?;
        probe.store.get_or_init(|| Arc::downgrade(&engine.store));
        let mut run = Self {
            states: vec![State::of(&engine.store)],
            ends: vec![0],
            times: vec![engine.now_ms()],
            gone: vec![Gone::new()],
            found: Vec::new(),
            replies: Vec::new(),
            succeeded: BTreeSet::new(),
        };
        for step in steps {
            let mut gone = run.gone.last().expect("one at least").clone();
            let mut replies = Vec::new();
            match &step.action {
                Action::Requests(requests) => {
                    for request in requests {
                        replies.extend(run.request(request, &mut engine, driver, &probe, &mut gone));
                    }
                }
                Action::Tick(_)
                | Action::Expire
                | Action::Clean(_)
                | Action::Seal
                | Action::Grow(_)
                | Action::Sync
                | Action::Close => {
                    step.run(&mut engine, driver);
                    run.states.push(State::of(&engine.store));
                }
            }
            run.replies.push(replies);
            run.gone.push(gone);
            run.ends.push(run.states.len() - 1);
            run.times.push(engine.now_ms());
        }
        Ok(run)
    }

    fn request(
        &mut self,
        request: &Request,
        engine: &mut Engine,
        driver: &mut Driver,
        probe: &Probe,
        gone: &mut Gone,
    ) -> Vec<u8> {
        let before = self.states.last().expect("one at least");
        let (db, now_ms) = (driver.database(), engine.now_ms());
        let shown: Vec<Vec<u8>> = keys_shown(request);
        gone.extend(before.expired_at(now_ms).filter(|(((other, key), field), _)| {
            *other == db && shown.contains(key) && field.as_ref().is_none_or(|field| shows_field(request, field))
        }));
        probe.expect(Some((before.clone(), now_ms)));
        let reply = engine.run(driver, std::slice::from_ref(request));
        probe.expect(None);
        if let Some(what) = probe.take() {
            self.found.push((Level::Visible, format!("during {}: {what}", full_name(request))));
        }
        if !reply.starts_with(b"-") {
            self.succeeded.insert(full_name(request));
        }
        self.states.push(State::of(&engine.store));
        reply
    }
}

/// The name of a request's command as COMMAND gives it: `get`, `function|flush`.
fn full_name(request: &Request) -> String {
    let lower = |argument: &[u8]| argument.escape_ascii().to_string().to_lowercase();
    match find(&request[0]) {
        Some(spec) if !spec.subcommands.is_empty() && request.len() > 1 => {
            format!("{}|{}", spec.name, lower(&request[1]))
        }
        _ => lower(&request[0]),
    }
}

/// Whether a request that shows a hash shows whether this field is there.
fn shows_field(request: &Request, field: &[u8]) -> bool {
    const WHOLE: [&[u8]; 5] = [b"hgetall", b"hkeys", b"hvals", b"hlen", b"hscan"];
    WHOLE.iter().any(|name| request[0].eq_ignore_ascii_case(name)) || request[2..].iter().any(|word| word == field)
}

/// The keys of a request whose reply shows for each whether it is there.
fn keys_shown(request: &Request) -> Vec<Vec<u8>> {
    const SHOWING: [&[u8]; 18] = [
        b"del",
        b"unlink",
        b"getdel",
        b"getex",
        b"setnx",
        b"persist",
        b"expire",
        b"pexpire",
        b"expireat",
        b"pexpireat",
        b"getset",
        b"hdel",
        b"hgetdel",
        b"hgetex",
        b"hsetnx",
        b"hpersist",
        b"hexpire",
        b"hpexpire",
    ];
    let Some(spec) = find(&request[0]) else { return Vec::new() };
    let shows =
        spec.flags.contains(Flags::READONLY) || SHOWING.iter().any(|name| request[0].eq_ignore_ascii_case(name));
    match spec.keys {
        KeySpec::Range { first, last, step } if shows => {
            let last = if last < 0 { request.len() as isize + last } else { last };
            (first..=last.max(0) as usize).step_by(step).filter_map(|at| request.get(at).cloned()).collect()
        }
        _ => Vec::new(),
    }
}
