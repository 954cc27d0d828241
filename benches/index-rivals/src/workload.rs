//! Keys, their records, and the order of access.

use fencepost::base::LogAddr;
use siphasher::sip::SipHasher13;
use std::cell::Cell;
use std::hash::{BuildHasherDefault, Hasher};

/// Operations in a slice.
pub const SLICE: usize = 960;

/// Bytes in a record: the key and the value.
const RECORD: usize = 16 + 64;

pub type Key = [u8; 16];
pub type Build = BuildHasherDefault<SipHasher13>;

pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

pub fn key_of(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(number).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

pub fn hash_of(key: &Key) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(1, 2);
    hasher.write(key);
    hasher.finish()
}

pub struct Workload {
    pub keys: usize,
    arena: Vec<u8>,
    drawn: Cell<u64>,
}

impl Workload {
    pub fn new(keys: usize) -> Self {
        let mut arena = vec![1; (keys + 1) * RECORD];
        for (number, record) in arena[RECORD..].chunks_mut(RECORD).enumerate() {
            record[..16].copy_from_slice(&key_of(number as u64));
        }
        Self { keys, arena, drawn: Cell::new(0) }
    }

    /// The address of the record of key `number`.
    pub fn addr(&self, number: u64) -> LogAddr {
        LogAddr::from_offset((number + 1) * RECORD as u64).expect("records start on 16-byte boundaries past 0")
    }

    pub fn record_starts(&self, addr: LogAddr) -> *const u8 {
        &raw const self.arena[addr.offset() as usize]
    }

    pub fn is(&self, addr: LogAddr, key: &Key) -> bool {
        self.arena[addr.offset() as usize..][..16] == *key
    }

    pub fn value(&self, addr: LogAddr) -> u64 {
        let value = &self.arena[addr.offset() as usize + 16..][..8];
        u64::from_le_bytes(value.try_into().expect("8 bytes"))
    }

    fn draw(&self) -> u64 {
        self.drawn.set(self.drawn.get() + 1);
        ((u128::from(mix(self.drawn.get() << 20)) * self.keys as u128) >> 64) as u64
    }

    pub fn some_present(&self) -> Vec<Key> {
        (0..SLICE).map(|_| key_of(self.draw())).collect()
    }

    pub fn some_absent(&self) -> Vec<Key> {
        (0..SLICE).map(|_| key_of(self.draw() + (1 << 40))).collect()
    }
}

pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
