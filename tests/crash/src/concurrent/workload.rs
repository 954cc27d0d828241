//! What the workers of one schedule do: a few commands each, on a few keys, so that they meet often.

mod elements;

use elements::Kind;
use fencepost_harness::{Command, Rng, Seed, command};

/// The wall clock at the start, Unix milliseconds.
pub const START_MS: u64 = 1_700_000_000_000;

/// Databases that are used.
pub const DATABASES: usize = 2;

/// A value longer than this is cut into chunks, with the segments that are used here.
const LONG: usize = 1024;

/// What a worker does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Commands on one database that arrive together: one batch of requests.
    Requests(usize, Vec<Command>),
    /// Commands on one database between MULTI and EXEC.
    Transaction(usize, Vec<Command>),
    /// A whole SCAN of a database, call by call.
    Scan(usize),
    /// The wall clock goes on by so many milliseconds.
    Tick(u64),
    /// The background work removes what is due.
    Expire,
    /// The background work takes flushed databases apart.
    Reap,
    /// The cleaner takes a few steps.
    Clean,
    /// The worker seals its segment, so that it may be cleaned.
    Seal,
}

/// All that is done to one store.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What kind it is.
    pub theme: Theme,
    /// Done before the workers start, by one of them.
    pub before: Vec<(usize, Command)>,
    /// What each worker does.
    pub workers: Vec<Vec<Step>>,
}

/// What a workload is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Theme {
    /// One or two keys, commands of one key.
    Registers,
    /// Commands of several keys.
    ManyKeys,
    /// Deadlines and a clock that goes on.
    Expiry,
    /// Databases flushed and swapped under writers.
    Databases,
    /// SCAN and KEYS beside writers.
    Scans,
    /// Values that are cut into chunks.
    LongValues,
    /// Requests that arrive together.
    Pipelines,
    /// Two writers of a key each, one who looks at both at once, and one who looks at one after the other.
    Snapshots,
    /// Segments sealed, cleaned and used again under readers and writers.
    Cleaning,
    /// Transactions of several commands beside others.
    Transactions,
    /// Hashes, lists, sets or sorted sets, and transactions on them.
    Elements,
    /// The same, with segments sealed, cleaned and used again.
    CleanedElements,
    /// Fields of hashes with deadlines, and a clock that goes on.
    Fields,
}

impl Theme {
    /// All of them.
    pub const ALL: [Theme; 13] = [
        Theme::Registers,
        Theme::ManyKeys,
        Theme::Expiry,
        Theme::Databases,
        Theme::Scans,
        Theme::LongValues,
        Theme::Pipelines,
        Theme::Snapshots,
        Theme::Cleaning,
        Theme::Transactions,
        Theme::Elements,
        Theme::CleanedElements,
        Theme::Fields,
    ];

    /// Whether segments are sealed and cleaned, in a pool that is soon full.
    pub fn cleans(self) -> bool {
        matches!(self, Theme::Cleaning | Theme::CleanedElements)
    }

    /// Whether keys hold collections.
    fn is_of_collections(self) -> bool {
        matches!(self, Theme::Elements | Theme::CleanedElements | Theme::Fields)
    }
}

impl Workload {
    /// The workload of a seed. `keys` are three names on different stripes.
    pub fn draw(seed: u64, keys: &[String]) -> Self {
        let mut rng = Seed(seed).rng(0x0003_071d);
        let theme = *rng.pick(&Theme::ALL);
        let used = match theme {
            Theme::Registers => 1 + rng.below(2),
            Theme::Expiry | Theme::LongValues | Theme::Snapshots | Theme::Cleaning | Theme::CleanedElements => 2,
            Theme::Fields => 2,
            _ => 2 + rng.below(2),
        };
        let numbers = rng.one_in(3);
        let kind = Kind::of(seed);
        let moves = theme == Theme::Elements && rng.one_in(3);
        let mut draw = Draw { rng, theme, kind, moves, keys: &keys[..used as usize], numbers, values: 0 };
        let before = draw.before();
        let workers = if theme == Theme::Snapshots { 4 } else { 2 + draw.rng.below(3) };
        let mut workers: Vec<Vec<Step>> = (0..workers).map(|number| draw.worker(number)).collect();
        let background = draw.background();
        if !background.is_empty() {
            workers.truncate(3);
            workers.push(background);
        }
        Workload { theme, before, workers }
    }

    /// The commands that follow a recovery at `position` of the schedule of a seed, one after the other.
    pub fn draw_after(seed: u64, position: usize, theme: Theme, keys: &[String]) -> Vec<(usize, Command)> {
        let rng = Seed(seed ^ position as u64).rng(0x0aff_7e12);
        let theme = if theme.is_of_collections() { theme } else { Theme::ManyKeys };
        let kind = Kind::of(seed);
        let mut draw = Draw { rng, theme, kind, moves: false, keys, numbers: false, values: 1_000 };
        (0..4).map(|_| (draw.db(), draw.command())).collect()
    }
}

/// Draws workloads.
struct Draw<'a> {
    rng: Rng,
    theme: Theme,
    /// What keys hold, where that is collections.
    kind: Kind,
    /// Whether one worker changes several collections at a time, and the others look at one after the other.
    moves: bool,
    keys: &'a [String],
    /// Whether values are numbers, so that INCR works.
    numbers: bool,
    /// Values drawn so far: no two are alike.
    values: u32,
}

impl Draw<'_> {
    fn key(&mut self) -> String {
        self.rng.pick(self.keys).clone()
    }

    /// Two different keys.
    fn two_keys(&mut self) -> (String, String) {
        let i = self.rng.below(self.keys.len() as u64) as usize;
        let j = (i + 1 + self.rng.below(self.keys.len() as u64 - 1) as usize) % self.keys.len();
        (self.keys[i].clone(), self.keys[j].clone())
    }

    fn db(&mut self) -> usize {
        let any = self.theme == Theme::Databases || (!self.theme.is_of_collections() && self.rng.one_in(12));
        if any { self.rng.below(DATABASES as u64) as usize } else { 0 }
    }

    /// A value that says which one it is.
    fn value(&mut self) -> String {
        self.values += 1;
        if self.numbers { format!("{}00", self.values) } else { format!("v{}", self.values) }
    }

    /// The same, filled up to one of several lengths.
    fn long_value(&mut self) -> String {
        let value = self.value();
        let len = match self.rng.below(4) {
            0 => 8,
            1 => self.rng.below(300),
            // Of several segments, where that matters.
            _ if self.theme == Theme::Cleaning => 4_000 + self.rng.below(2_000),
            _ => LONG as u64 + self.rng.below(1_500),
        };
        format!("{value}.").repeat(len as usize / (value.len() + 1) + 1)
    }

    /// A few keys are there at the start.
    fn before(&mut self) -> Vec<(usize, Command)> {
        let mut before = Vec::new();
        if self.theme.is_of_collections() {
            let count = if self.theme.cleans() || self.moves { 6 } else { self.rng.below(5) };
            return (0..count)
                .map(|_| (0, if self.theme == Theme::Fields { self.fields() } else { self.element_write() }))
                .collect();
        }
        for key in self.keys {
            for db in 0..if self.theme == Theme::Databases { DATABASES } else { 1 } {
                if self.rng.one_in(2) {
                    let long = self.theme == Theme::LongValues || (self.theme == Theme::Cleaning && self.rng.one_in(3));
                    let value = if long { self.long_value() } else { self.value() };
                    let mut set = words(format!("SET {key} {value}"));
                    if self.theme == Theme::Expiry && self.rng.one_in(2) {
                        set.extend(words(format!("PX {}", 1 + self.rng.below(20))));
                    }
                    before.push((db, set));
                }
            }
        }
        before
    }

    fn worker(&mut self, number: u64) -> Vec<Step> {
        if self.theme == Theme::Snapshots {
            return self.snapshots(number);
        }
        if self.moves {
            return self.moving(number);
        }
        if self.theme == Theme::Transactions && number != 1 {
            return self.passing_values(number);
        }
        // A pipeline is several commands.
        let steps = if self.theme == Theme::Pipelines { 2 + self.rng.below(2) } else { 3 + self.rng.below(4) };
        let mut steps: Vec<Step> = (0..steps).map(|_| self.step()).collect();
        if self.theme.cleans() {
            steps = steps.into_iter().flat_map(|step| [step, Step::Seal]).collect();
        }
        steps
    }

    fn snapshots(&mut self, number: u64) -> Vec<Step> {
        let (a, b) = self.two_keys();
        let lines: Vec<String> = match number {
            0 | 1 => {
                let key = self.keys[number as usize].clone();
                (0..3).map(|_| format!("SET {key} {}", self.value())).collect()
            }
            2 => (0..2).map(|_| format!("MGET {a} {b}")).collect(),
            _ => (0..2).flat_map(|_| [format!("GET {a}"), format!("GET {b}")]).collect(),
        };
        lines.into_iter().map(|line| Step::Requests(0, vec![words(line)])).collect()
    }

    /// One worker whose transactions give keys values that they take back, so that nobody may ever see them; of the others each reads.
    fn passing_values(&mut self, number: u64) -> Vec<Step> {
        let steps = 3 + self.rng.below(3);
        let step = |draw: &mut Self| {
            let ((a, b), v, w) = (draw.two_keys(), draw.value(), draw.value());
            if number == 0 {
                let lines = [format!("SET {a} {v}"), format!("SET {b} {w}"), format!("SET {a} {w}")];
                return Step::Transaction(0, lines.map(words).to_vec());
            }
            let line = match draw.rng.below(8) {
                0 => format!("MGET {a} {b}"),
                1 => return Step::Scan(0),
                _ => format!("GET {a}"),
            };
            Step::Requests(0, vec![words(line)])
        };
        (0..steps).map(|_| step(self)).collect()
    }

    fn background(&mut self) -> Vec<Step> {
        let count = 2 + self.rng.below(3);
        match self.theme {
            Theme::Expiry | Theme::Fields => {
                (0..count).flat_map(|_| [Step::Tick(1 + self.rng.below(12)), Step::Expire]).collect()
            }
            Theme::Databases if self.rng.one_in(2) => (0..count).map(|_| Step::Reap).collect(),
            Theme::Cleaning | Theme::CleanedElements => (0..2 * count).map(|_| Step::Clean).collect(),
            _ => Vec::new(),
        }
    }

    fn step(&mut self) -> Step {
        let db = self.db();
        match self.theme {
            Theme::Transactions if self.rng.one_in(2) => {
                let count = 2 + self.rng.below(2);
                Step::Transaction(db, (0..count).map(|_| self.command()).collect())
            }
            Theme::Transactions if self.rng.one_in(5) => Step::Scan(db),
            Theme::Scans if self.rng.one_in(3) => Step::Scan(db),
            Theme::Elements | Theme::CleanedElements => self.elements_step(),
            Theme::Expiry | Theme::Fields if self.rng.one_in(12) => Step::Tick(1 + self.rng.below(6)),
            Theme::Pipelines => {
                let kind = self.rng.below(3);
                let count = 2 + self.rng.below(3);
                let requests = (0..count).map(|_| {
                    let key = self.key();
                    match kind {
                        0 => words(format!("GET {key}")),
                        1 => words(format!("SET {key} {}", self.value())),
                        _ => self.command(),
                    }
                });
                Step::Requests(db, requests.collect())
            }
            _ => Step::Requests(db, vec![self.command()]),
        }
    }

    fn command(&mut self) -> Command {
        match self.theme {
            Theme::Registers => self.register(),
            Theme::ManyKeys | Theme::Pipelines => self.many_keys(),
            Theme::Expiry => self.expiry(),
            Theme::Databases => self.databases(),
            Theme::Scans => self.scans(),
            Theme::LongValues => self.long(),
            Theme::Snapshots => self.many_keys(),
            Theme::Transactions => match self.rng.below(12) {
                0..=2 => words(format!("GET {}", self.key())),
                _ => self.many_keys(),
            },
            Theme::Elements | Theme::CleanedElements => self.elements(),
            Theme::Fields => self.fields(),
            Theme::Cleaning if self.rng.one_in(3) => self.long(),
            Theme::Cleaning => self.register(),
        }
    }

    fn register(&mut self) -> Command {
        let (key, value) = (self.key(), self.value());
        words(match self.rng.below(14) {
            0 | 1 => format!("SET {key} {value}"),
            2..=4 => format!("GET {key}"),
            5 => format!("INCR {key}"),
            6 => format!("APPEND {key} {value}"),
            7 => format!("GETSET {key} {value}"),
            8 => format!("SETNX {key} {value}"),
            9 => format!("DEL {key}"),
            10 => format!("GETDEL {key}"),
            11 => format!("SETRANGE {key} {} {value}", self.rng.below(4)),
            12 => format!("STRLEN {key}"),
            _ => format!("SET {key} {value} {} GET", self.rng.pick(&["NX", "XX", "KEEPTTL"])),
        })
    }

    fn many_keys(&mut self) -> Command {
        let ((a, b), v, w) = (self.two_keys(), self.value(), self.value());
        words(match self.rng.below(14) {
            0 | 1 => format!("MSET {a} {v} {b} {w}"),
            2 | 3 => format!("MGET {a} {b}"),
            4 => format!("MSETNX {a} {v} {b} {w}"),
            5 => format!("RENAME {a} {b}"),
            6 => format!("RENAMENX {a} {b}"),
            7 => format!("COPY {a} {b}{}", self.rng.pick(&["", " REPLACE"])),
            8 => format!("DEL {a} {b}"),
            9 => format!("EXISTS {a} {b}"),
            _ => return self.register(),
        })
    }

    fn expiry(&mut self) -> Command {
        let ((a, b), v, px) = (self.two_keys(), self.value(), 1 + self.rng.below(15));
        words(match self.rng.below(16) {
            0 | 1 => format!("SET {a} {v} PX {px}"),
            2 => format!("PEXPIRE {a} {px}"),
            3 => format!("PEXPIREAT {a} {}", START_MS + self.rng.below(30)),
            4 | 5 => format!("PERSIST {a}"),
            6 => format!("GETEX {a} {}", self.rng.pick(&["PERSIST", "PX 9"])),
            7 => format!("SET {a} {v} KEEPTTL"),
            8 => format!("RENAME {a} {b}"),
            9 => format!("COPY {a} {b} REPLACE"),
            10 => format!("MGET {a} {b}"),
            11 => format!("EXISTS {a}"),
            12..=14 => format!("GET {a}"),
            _ => return self.register(),
        })
    }

    fn databases(&mut self) -> Command {
        let (key, (a, b), v) = (self.key(), self.two_keys(), self.value());
        words(match self.rng.below(14) {
            0 | 1 => "FLUSHDB".into(),
            2 => "FLUSHALL".into(),
            3 | 4 => "SWAPDB 0 1".into(),
            5 => format!("MOVE {key} {}", self.rng.below(2)),
            6 => format!("COPY {a} {b} DB {} REPLACE", self.rng.below(2)),
            7 | 8 => format!("MGET {a} {b}"),
            9 | 10 => format!("MSET {a} {v} {b} {v}"),
            _ => return self.register(),
        })
    }

    fn scans(&mut self) -> Command {
        let ((a, b), v) = (self.two_keys(), self.value());
        words(match self.rng.below(12) {
            0 => "KEYS *".into(),
            1 => "FLUSHDB".into(),
            2..=4 => format!("SET {a} {v}"),
            5 | 6 => format!("DEL {a}"),
            7 | 8 => format!("RENAME {a} {b}"),
            9 => format!("MSET {a} {v} {b} {v}"),
            _ => format!("GET {a}"),
        })
    }

    fn long(&mut self) -> Command {
        let ((a, b), v) = (self.two_keys(), self.long_value());
        words(match self.rng.below(14) {
            0..=2 => format!("SET {a} {v}"),
            3..=5 => format!("GET {a}"),
            6 => format!("APPEND {a} {v}"),
            7 => format!("SETRANGE {a} {} {v}", self.rng.below(2_000)),
            8 => format!("GETRANGE {a} {} {}", self.rng.below(1_200), 1_000 + self.rng.below(1_200)),
            9 => format!("STRLEN {a}"),
            10 => format!("COPY {a} {b} REPLACE"),
            11 => format!("RENAME {a} {b}"),
            12 => format!("GETSET {a} {v}"),
            _ => format!("DEL {a}"),
        })
    }
}

fn words(line: String) -> Command {
    command(&line.split(' ').collect::<Vec<_>>())
}
