//! The tables, behind one face. Dispatch is per slice, so it costs nothing per operation.

use crate::workload::{Build, Key, Workload, hash_of, key_of};
use crossbeam_epoch::pin;
use fencepost::base::LogAddr;
use fencepost::index::{Index, IndexOptions};
use std::collections::HashMap;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub trait Table {
    fn name(&self) -> &'static str;
    /// Inserts all keys; ns an insert.
    fn fill(&mut self, workload: &Workload) -> f64;
    /// ns a lookup of present keys.
    fn hits(&mut self, keys: &[Key]) -> f64;
    /// ns a lookup of absent keys.
    fn misses(&mut self, keys: &[Key]) -> f64 {
        self.hits(keys)
    }
    fn batched_hits(&mut self, _keys: &[Key]) -> Option<f64> {
        None
    }
    /// ns a lookup of present keys under one pin.
    fn pinned_hits(&mut self, _keys: &[Key]) -> Option<f64> {
        None
    }
    /// Bytes of memory that did not come from the allocator.
    fn mapped(&self) -> usize {
        0
    }
}

/// ns each of `n` operations.
fn timed(n: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / n as f64
}

/// The workload outlives the tables: it is set once, before the first lookup.
type Arena = *const Workload;

/// A spin lock on a line of its own, as plain as a stripe lock without contention.
#[repr(align(64))]
#[derive(Default)]
struct Lock(AtomicBool);

impl Lock {
    fn with<R>(&self, work: impl FnOnce() -> R) -> R {
        while self.0.swap(true, Ordering::Acquire) {
            spin_loop();
        }
        let result = work();
        self.0.store(false, Ordering::Release);
        result
    }
}

/// An index with the stripe locks that its writers need.
pub struct Striped {
    pub index: Index,
    locks: Vec<Lock>,
}

impl Striped {
    pub fn new(keys: usize) -> Self {
        let options = IndexOptions { stripe_bits: 12, max_entries: keys as u64 };
        let index = Index::new(&options).expect("address space is to be had");
        Self { index, locks: (0..1 << 12).map(|_| Lock::default()).collect() }
    }

    #[inline]
    pub fn upsert(&self, hash: u64, addr: LogAddr, is_match: impl FnMut(LogAddr) -> bool) {
        let guard = pin();
        self.locks[self.index.stripe_of(hash)].with(|| self.index.upsert(hash, addr, &guard, is_match));
    }

    pub fn maintain(&self) {
        self.index.maintain(&pin(), &mut |stripe, work| self.locks[stripe].with(work));
    }
}

pub struct Fencepost {
    table: Striped,
    arena: Arena,
}

impl Fencepost {
    pub fn new(keys: usize) -> Self {
        Self { table: Striped::new(keys), arena: std::ptr::null() }
    }

    fn workload(&self) -> &Workload {
        // SAFETY: `fill` set it to the workload that lives until after the tables.
        unsafe { &*self.arena }
    }
}

impl Table for Fencepost {
    fn name(&self) -> &'static str {
        "fencepost index"
    }

    fn fill(&mut self, workload: &Workload) -> f64 {
        self.arena = workload;
        let done = AtomicBool::new(false);
        let table = &self.table;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    table.maintain();
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            let ns = timed(workload.keys, || {
                for number in 0..workload.keys as u64 {
                    let key = key_of(number);
                    table.upsert(hash_of(&key), workload.addr(number), |addr| workload.is(addr, &key));
                }
            });
            done.store(true, Ordering::Relaxed);
            ns
        })
    }

    fn hits(&mut self, keys: &[Key]) -> f64 {
        let workload = self.workload();
        timed(keys.len(), || {
            for key in keys {
                let guard = pin();
                let found = self.table.index.get(hash_of(key), &guard, |addr| workload.is(addr, key));
                black_box(found.map(|addr| workload.value(addr)));
            }
        })
    }

    fn batched_hits(&mut self, keys: &[Key]) -> Option<f64> {
        let workload = self.workload();
        Some(timed(keys.len(), || {
            let mut found = [None; 16];
            for keys in keys.chunks_exact(16) {
                let hashes: [u64; 16] = std::array::from_fn(|i| hash_of(&keys[i]));
                let guard = pin();
                self.table.index.get_batch(
                    &hashes,
                    &guard,
                    |addr| prefetch(workload.record_starts(addr)),
                    |i, addr| workload.is(addr, &keys[i]),
                    &mut found,
                );
                for addr in found {
                    black_box(addr.map(|addr| workload.value(addr)));
                }
            }
        }))
    }

    fn pinned_hits(&mut self, keys: &[Key]) -> Option<f64> {
        let workload = self.workload();
        Some(timed(keys.len(), || {
            let guard = pin();
            for key in keys {
                let found = self.table.index.get(hash_of(key), &guard, |addr| workload.is(addr, key));
                black_box(found.map(|addr| workload.value(addr)));
            }
        }))
    }

    fn mapped(&self) -> usize {
        self.table.index.bytes() as usize
    }
}

fn prefetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect on the program's state.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Implements [`Table`] for a map from keys to addresses.
macro_rules! map_table {
    ($table:ident, $name:literal, $map:ty, $insert:expr, $get:expr) => {
        pub struct $table {
            map: $map,
            arena: Arena,
        }

        impl Default for $table {
            fn default() -> Self {
                Self { map: <$map>::default(), arena: std::ptr::null() }
            }
        }

        impl Table for $table {
            fn name(&self) -> &'static str {
                $name
            }

            fn fill(&mut self, workload: &Workload) -> f64 {
                self.arena = workload;
                timed(workload.keys, || {
                    for number in 0..workload.keys as u64 {
                        $insert(&mut self.map, workload, key_of(number), workload.addr(number));
                    }
                })
            }

            fn hits(&mut self, keys: &[Key]) -> f64 {
                // SAFETY: `fill` set it to the workload that lives until after the tables.
                let workload = unsafe { &*self.arena };
                timed(keys.len(), || {
                    for key in keys {
                        let found: Option<LogAddr> = $get(&self.map, workload, key);
                        black_box(found.map(|addr| workload.value(addr)));
                    }
                })
            }
        }
    };
}

map_table!(
    Papaya,
    "papaya",
    papaya::HashMap<Key, LogAddr, Build>,
    |map: &mut papaya::HashMap<Key, LogAddr, Build>, _: &Workload, key, addr| {
        map.pin().insert(key, addr);
    },
    |map: &papaya::HashMap<Key, LogAddr, Build>, _: &Workload, key: &Key| map.pin().get(key).copied()
);

map_table!(
    Std,
    "std HashMap (one thread)",
    HashMap<Key, LogAddr, Build>,
    |map: &mut HashMap<Key, LogAddr, Build>, _: &Workload, key, addr| {
        map.insert(key, addr);
    },
    |map: &HashMap<Key, LogAddr, Build>, _: &Workload, key: &Key| map.get(key).copied()
);

map_table!(
    Bare,
    "hashbrown of addresses (same)",
    hashbrown::HashTable<LogAddr>,
    |map: &mut hashbrown::HashTable<LogAddr>, workload: &Workload, key: Key, addr| {
        let rehash = |addr: &LogAddr| hash_of(&key_of(addr.offset() / 80 - 1));
        map.entry(hash_of(&key), |&addr| workload.is(addr, &key), rehash).insert(addr);
    },
    |map: &hashbrown::HashTable<LogAddr>, workload: &Workload, key: &Key| {
        map.find(hash_of(key), |&addr| workload.is(addr, key)).copied()
    }
);
