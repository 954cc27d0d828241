//! The real engine as the histories use it: a small pool whose every random choice is fixed, commands run as a connection would run them,
//! and everything read out.

use super::history::Contents;
use super::workload::{DATABASES, START_MS};
use bytes::BytesMut;
use crossbeam_epoch::pin;
use fencepost::base::{Clock, SegmentId};
use fencepost::command::{After, Ctx, ID_COUNT, Identity, Session, Settings, Shared, execute, execute_run};
use fencepost::log::ObjectType;
use fencepost::persist::{Region, RegionOptions};
use fencepost::pool::format::{SUPERBLOCK_BYTES, Superblock, seal_word, state_word};
use fencepost::pool::{Pool, PoolOptions};
use fencepost::protocol::{ArgSpans, Protocol, ReplyWriter};
use fencepost::recovery::Progress;
use fencepost::recovery::tools::check_pool;
use fencepost::store::{Element, Entry, Store, StoreOptions, Worker};
use fencepost_harness::model::{Held, Score, Value};
use fencepost_harness::{Command, Frame};
use pmem_emulation::Hook;
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Few, so that a write to all of them is short.
const STRIPES: u32 = 4;

const SEGMENT_BYTES: u64 = 4096;

const SEGMENTS: u32 = 48;

/// So few that each is soon used again.
const SMALL_SEGMENTS: u32 = 20;

/// Workers of one schedule at most, the background included.
pub const WORKERS_MAX: usize = 4;

const UUID: [u8; 16] = *b"concurrent pool!";
const HASH_KEY: [u8; 16] = *b"the same always.";

fn options(segments: u32, hook: Option<Arc<dyn Hook>>) -> StoreOptions {
    let pool = PoolOptions {
        path: None,
        bytes: 4 * SUPERBLOCK_BYTES as u64 + u64::from(segments) * SEGMENT_BYTES,
        max_bytes: 0,
        segment_bytes: Some(SEGMENT_BYTES),
        stripes: STRIPES,
        now_ms: START_MS,
        region: RegionOptions { hook, ..RegionOptions::default() },
    };
    StoreOptions { pool, databases: DATABASES as u32, recovery_threads: 1, salvage: false }
}

/// The bytes of an empty pool, the same in every run; a small one is soon full.
pub fn empty_pool(small: bool) -> &'static [u8] {
    static IMAGES: [OnceLock<Vec<u8>>; 2] = [const { OnceLock::new() }; 2];
    IMAGES[usize::from(small)].get_or_init(|| {
        let segments = if small { SMALL_SEGMENTS } else { SEGMENTS };
        let (pool, _) = Pool::open_or_create(&options(segments, None).pool).expect("anonymous memory");
        let mut image = bytes_of(&pool);
        let superblock = Superblock { uuid: UUID, hash_key: HASH_KEY, boot_id: [0; 16], ..pool.superblock() };
        for generation in [superblock.generation - 1, superblock.generation] {
            let at = (generation % 2) as usize * SUPERBLOCK_BYTES;
            image[at..][..SUPERBLOCK_BYTES].copy_from_slice(&Superblock { generation, ..superblock.clone() }.encode());
        }
        for id in (0..pool.segment_count()).map(SegmentId) {
            let at = pool.segment_offset(id) as usize;
            image[at..][..8].copy_from_slice(&state_word(&UUID, id, 0).to_le_bytes());
            image[at + 8..][..8].copy_from_slice(&seal_word(&UUID, id, 0, 0).to_le_bytes());
        }
        image
    })
}

/// Three names whose stripes differ.
pub fn keys() -> &'static [String] {
    static KEYS: OnceLock<Vec<String>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let hasher = SipHasher13::new_with_key(&HASH_KEY);
        let mut taken = BTreeSet::new();
        let names = ('a'..='z').map(String::from);
        names.filter(|name| taken.insert(hasher.hash(name.as_bytes()) % u64::from(STRIPES))).take(3).collect()
    })
}

fn bytes_of(pool: &Pool) -> Vec<u8> {
    let region = pool.region();
    region.read(0, region.len()).expect("memory can be read").to_vec()
}

/// Recovers the store in `image`, with the wall clock at `now_ms`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn recover(image: &[u8], now_ms: u64, hook: Option<Arc<dyn Hook>>) -> Result<Store, String> {
    // How many segments there are is in the image.
    let options = options(SEGMENTS, hook);
    let region = Region::from_image(image, &options.pool.region).map_err(|error| error.to_string())?;
    let pool = Pool::from_region(region, Path::new("image")).map_err(|error| error.to_string())?;
    Store::recover(pool, &options, Clock::manual(now_ms), &Progress::default()).map_err(|error| error.to_string())
}

/// Everything in the store.
pub fn read_out(store: &Store) -> Contents {
    let (guard, now_ms) = (pin(), store.clock().now_ms());
    let mut contents = Contents::new();
    for db in 0..DATABASES {
        let mut cursor = 0;
        loop {
            cursor = store.scan(db as u32, cursor, now_ms, &guard, &mut |entry| {
                let (name, deadline) = (entry.key().to_vec(), entry.expire_at().map(|at| at as i64));
                let held = Held { deadline, ..held(store, entry, now_ms) };
                if !held.is_gone() {
                    contents.insert((db, name), held);
                }
            });
            if cursor == 0 {
                break;
            }
        }
    }
    contents
}

/// What an entry leads to, but for the key's deadline.
fn held(store: &Store, entry: Entry<'_>, now_ms: u64) -> Held {
    if !entry.is_collection() {
        return Held::new(Value::Text(entry.string().expect("a string").bytes().into_owned()));
    }
    let view = store.view(entry, now_ms).expect("a collection");
    let names = view.iter().map(|element| element.name().to_vec());
    let score = |score| Score::new(score).expect("scores are small integers");
    let mut fields = BTreeMap::new();
    let value = match view.kind() {
        ObjectType::List => Value::List(view.iter().map(|element| element.value().to_vec()).collect()),
        ObjectType::Set => Value::Set(names.collect()),
        ObjectType::SortedSet => {
            Value::SortedSet(names.zip(view.iter()).map(|(name, element)| (name, score(element.score()))).collect())
        }
        _ => {
            let deadline = |element: Element<'_>| Some((element.name().to_vec(), element.expire_at()? as i64));
            fields.extend(view.iter().filter_map(deadline));
            Value::Hash(names.zip(view.iter()).map(|(name, element)| (name, element.value().to_vec())).collect())
        }
    };
    Held { value, deadline: None, fields }
}

/// What `pool check` says against the pool of `store`, if anything.
pub fn complaints(store: &Store) -> Option<String> {
    let damage = check_pool(store.pool()).damage;
    (!damage.is_empty()).then(|| damage.join("\n"))
}

/// What connections share. One for a whole run: it holds counters only.
pub fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(Settings::new(), Identity::default(), Clock::manual(START_MS), WORKERS_MAX + 1, ID_COUNT))
}

/// A connection with a thread of its own.
pub struct Connection {
    shared: Arc<Shared>,
    number: usize,
    worker: Worker,
    session: Session,
}

impl Connection {
    /// Connection `number`, with an open segment of its own.
    pub fn new(shared: Arc<Shared>, number: usize, store: &Store) -> Self {
        let mut session = Session::default();
        (session.id, session.authenticated) = (number as u64 + 1, true);
        Self { shared, number, worker: store.worker(), session }
    }

    /// Seals its segment: the next write begins another.
    pub fn seal(&mut self, store: &Store) {
        store.close_worker(&mut self.worker);
    }

    /// Runs commands that arrive together, as the server's dispatch does; their replies.
    ///
    /// # Panics
    /// If a reply is no RESP.
    pub fn run(&mut self, store: &Store, db: usize, now_ms: u64, commands: &[Command]) -> Vec<Frame> {
        self.session.db = db as u32;
        let requests: Vec<(Vec<u8>, ArgSpans)> = commands.iter().map(encode).collect();
        let mut out = BytesMut::new();
        let guard = pin();
        let mut ctx = Ctx {
            shared: &self.shared,
            stats: self.shared.stats.worker(self.number),
            store,
            worker: &mut self.worker,
            session: &mut self.session,
            reply: ReplyWriter::new(&mut out, Protocol::Resp2),
            guard: &guard,
            loading: false,
            now_ms,
            after: After::Continue,
        };
        let mut done = 0;
        while done < requests.len() {
            let rest = &requests[done..];
            let together = execute_run(&mut ctx, rest.len(), |i| rest[i].1.args(&rest[i].0));
            if together == 0 {
                // Who finds no room is told so: cleaning is a worker's own business here.
                ctx.session.room_waits.give_up();
                // An error is a reply like others.
                let _ = execute(&mut ctx, rest[0].1.args(&rest[0].0));
            }
            done += together.max(1);
        }
        let mut replies = &out[..];
        commands.iter().map(|_| Frame::read(&mut replies).expect("every command is answered in RESP")).collect()
    }
}

fn encode(command: &Command) -> (Vec<u8>, ArgSpans) {
    let (mut bytes, mut spans) = (Vec::new(), ArgSpans::new());
    for word in command {
        spans.push(bytes.len() as u32, word.len() as u32);
        bytes.extend_from_slice(word);
    }
    (bytes, spans)
}
