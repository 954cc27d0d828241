//! A second, plain way to read a pool: all records into a map, the newest of each key and chunk, and from these the state.
//!
//! Written apart from the store's own recovery, so that a mistake there has something to differ from. It shares the reading of batches.

use crate::engine::DATABASES;
use crate::state::{State, Value};
use fencepost::base::LogAddr;
use fencepost::log::{Kind, Record};
use fencepost::pool::Pool;
use fencepost::recovery::{Progress, Visitor, scan_pool};
use std::collections::BTreeMap;

#[derive(Default)]
struct Newest<'p> {
    /// By keyspace and name.
    keys: BTreeMap<(u32, &'p [u8]), Record<'p>>,
    /// By object id and number.
    chunks: BTreeMap<(u64, u64), Record<'p>>,
}

impl<'p> Visitor<'p> for Newest<'p> {
    fn record(&mut self, _addr: LogAddr, record: Record<'p>) {
        match record.kind {
            Kind::String | Kind::Tombstone | Kind::ObjectHead => {
                let newest = self.keys.entry((record.keyspace, record.key)).or_insert(record);
                if record.version > newest.version {
                    *newest = record;
                }
            }
            Kind::Chunk => {
                let key = record.chunk_key().expect("a chunk names its object");
                let newest = self.chunks.entry(key).or_insert(record);
                if record.version > newest.version {
                    *newest = record;
                }
            }
            Kind::ClockMark => {}
        }
    }
}

/// What an open pool holds. Its clock floor is that of the opening, so what expires by it is gone.
pub fn read(pool: &Pool) -> State {
    let mut newest = [Newest::default()];
    scan_pool(pool, &mut newest, &Progress::default());
    let [newest] = newest;
    let superblock = pool.superblock();
    let mut state = State::default();
    for (&(keyspace, name), record) in &newest.keys {
        let db = superblock.keyspaces.iter().position(|&id| id == keyspace).filter(|&db| db < DATABASES as usize);
        let expired = record.expiry_ms != 0 && record.expiry_ms <= superblock.clock_floor_ms;
        let (Some(db), false, false) = (db, record.kind == Kind::Tombstone, expired) else { continue };
        let long = record.kind == Kind::ObjectHead;
        let value = Value {
            kind: "string",
            bytes: if long { long_string(record, &newest.chunks) } else { record.value.to_vec() },
            raw: record.flags & fencepost::log::format::FLAG_RAW != 0 || long,
            expire_at: (record.expiry_ms != 0).then_some(record.expiry_ms),
        };
        state.0.insert((db as u32, name.to_vec()), value);
    }
    state
}

fn long_string(head: &Record<'_>, chunks: &BTreeMap<(u64, u64), Record<'_>>) -> Vec<u8> {
    let object = head.object().expect("a head describes an object");
    let mut bytes = vec![0; object.len as usize];
    for (&(_, number), chunk) in chunks.range((object.id, 0)..(object.id + 1, 0)) {
        let start = (number as usize) << object.chunk_shift;
        if start < bytes.len() {
            let end = bytes.len().min(start + chunk.value.len());
            bytes[start..end].copy_from_slice(&chunk.value[..end - start]);
        }
    }
    bytes
}
