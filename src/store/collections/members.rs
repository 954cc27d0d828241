//! The members of a hash, a set or a sorted set: where each one's record is, found by hash.
//!
//! Addresses lie densely in an array, without an order that means anything: a random member is one look, and a scan goes through the array from its
//! end to its front. As removing moves the last address into the gap, no member that stays ever moves to where the scan has been. An address leaves room
//! for 24 bits of the hash beside it, so that of few members hardly a record is looked at but the one that is asked for.
//!
//! Beside it, once there are more than [`SMALL`] members, are tables from hash to place in the array. There are as many as to keep each below
//! [`TABLE_MAX`] places: a table that grows too large is split in two, so that no single insertion has to move more than that many.
//!
//! DRAM: 8 bytes a member up to [`SMALL`], about 20 above.

use crate::base::{ADDR_BITS, LogAddr};
use crate::store::RUN;
use hashbrown::HashTable;

/// Members up to which all are looked at instead of a table.
const SMALL: usize = 8;

/// Places in one table.
const TABLE_MAX: usize = 1 << 14;

/// A place in the array, and half of the hash of what is there.
#[derive(Clone, Copy)]
struct Place {
    hash: u32,
    at: u32,
}

impl Place {
    /// What a table goes by. The low bits have chosen the table.
    fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
    }
}

/// An address in its low bits, and the high bits of the hash of what is there.
#[derive(Clone, Copy)]
struct Slot(u64);

impl Slot {
    fn new(hash: u64, addr: LogAddr) -> Self {
        Self(hash >> ADDR_BITS << ADDR_BITS | addr.units())
    }

    #[inline]
    fn addr(self) -> LogAddr {
        LogAddr::from_units(self.0 & ((1 << ADDR_BITS) - 1)).expect("it was an address")
    }

    /// Whether it may be of something with this hash.
    #[inline]
    fn fits(self, hash: u64) -> bool {
        (self.0 ^ hash) >> ADDR_BITS == 0
    }
}

/// See the module.
#[derive(Default)]
pub struct Members {
    array: Vec<Slot>,
    tables: Vec<HashTable<Place>>,
}

impl Members {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.array.len()
    }

    /// The record at `place`, which must be below [`Members::len`].
    pub fn at(&self, place: usize) -> LogAddr {
        self.array[place].addr()
    }

    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = LogAddr> + ExactSizeIterator + '_ {
        self.array.iter().map(|slot| slot.addr())
    }

    /// Bytes of DRAM.
    pub fn dram_bytes(&self) -> usize {
        let tables: usize = self.tables.iter().map(|table| table.allocation_size() + size_of_val(table)).sum();
        self.array.capacity() * size_of::<Slot>() + tables
    }

    /// The place of the member with this hash for which `same` holds.
    #[inline]
    pub fn find(&self, hash: u64, mut same: impl FnMut(LogAddr) -> bool) -> Option<usize> {
        if self.tables.is_empty() {
            return self.array.iter().position(|slot| slot.fits(hash) && same(slot.addr()));
        }
        let hash = hash as u32;
        let is_it = |place: &Place| place.hash == hash && same(self.at(place.at as usize));
        self.table_of(hash).find(Place::spread(hash), is_it).map(|place| place.at as usize)
    }

    /// Tells `seen` of a member for each of these hashes, at most [`RUN`], that is in all likelihood the one that will be asked for. The memory accesses
    /// of all overlap.
    pub fn candidates(&self, hashes: &[u64], mut seen: impl FnMut(LogAddr, u64)) {
        if self.tables.is_empty() {
            let first = |hash| self.array.iter().find(|slot| slot.fits(hash));
            return hashes.iter().for_each(|&hash| first(hash).into_iter().for_each(|slot| seen(slot.addr(), hash)));
        }
        let mut places = [None; RUN];
        for (place, &hash) in places.iter_mut().zip(hashes) {
            let half = hash as u32;
            *place = self.table_of(half).find(Place::spread(half), |place| place.hash == half).map(|place| place.at);
        }
        for (place, &hash) in places.iter().zip(hashes) {
            if let Some(at) = place {
                seen(self.at(*at as usize), hash);
            }
        }
    }

    /// Adds a member that is not there. `hash_of` tells the hash of a record.
    ///
    /// # Panics
    /// At 2^32 members.
    pub fn insert(&mut self, hash: u64, addr: LogAddr, hash_of: impl Fn(LogAddr) -> u64) {
        let at = u32::try_from(self.array.len()).expect("no pool has room for so many");
        self.array.push(Slot::new(hash, addr));
        if self.tables.is_empty() {
            if self.array.len() <= SMALL {
                return;
            }
            self.tables.push(HashTable::with_capacity(2 * SMALL));
            for at in 0..self.array.len() {
                self.place(Place { hash: hash_of(self.at(at)) as u32, at: at as u32 });
            }
            return;
        }
        self.place(Place { hash: hash as u32, at });
        if self.array.len() > self.tables.len() * (TABLE_MAX / 2) {
            self.split();
        }
    }

    /// Puts another record in a member's place and returns the former one.
    pub fn replace(&mut self, place: usize, addr: LogAddr) -> LogAddr {
        let slot = &mut self.array[place];
        let former = slot.addr();
        *slot = Slot::new(slot.0, addr);
        former
    }

    /// Removes the member at `place`.
    pub fn remove(&mut self, place: usize, hash_of: impl Fn(LogAddr) -> u64) -> LogAddr {
        let last = self.array.len() - 1;
        if !self.tables.is_empty() {
            let gone = hash_of(self.at(place)) as u32;
            let number = self.table_number(gone);
            let found = self.tables[number].find_entry(Place::spread(gone), |other| other.at as usize == place);
            found.ok().expect("every member is in a table").remove();
            if place != last {
                let moved = hash_of(self.at(last)) as u32;
                let number = self.table_number(moved);
                let found = self.tables[number].find_mut(Place::spread(moved), |other| other.at as usize == last);
                found.expect("every member is in a table").at = place as u32;
            }
        }
        let addr = self.array.swap_remove(place).addr();
        // A quarter left: give back what is not needed.
        if self.array.capacity() > 64 && self.array.len() < self.array.capacity() / 4 {
            self.array.shrink_to(self.array.len() * 2);
        }
        addr
    }

    fn place(&mut self, place: Place) {
        let number = self.table_number(place.hash);
        self.tables[number].insert_unique(Place::spread(place.hash), place, |other| Place::spread(other.hash));
    }

    fn table_of(&self, hash: u32) -> &HashTable<Place> {
        &self.tables[self.table_number(hash)]
    }

    /// Linear hashing: with `n` tables the low bits of the hash choose one of the next power of two, or of half of that where there is none yet.
    fn table_number(&self, hash: u32) -> usize {
        number_among(self.tables.len(), hash)
    }

    /// Splits the next table in two.
    fn split(&mut self) {
        let count = self.tables.len() + 1;
        let half = count.next_power_of_two() / 2;
        let from = count - 1 - half;
        let moved = self.tables[from].extract_if(|place| number_among(count, place.hash) == count - 1);
        let mut table = HashTable::with_capacity(TABLE_MAX / 2);
        for place in moved {
            table.insert_unique(Place::spread(place.hash), place, |other| Place::spread(other.hash));
        }
        self.tables.push(table);
    }
}

fn number_among(count: usize, hash: u32) -> usize {
    let number = hash as usize & (count.next_power_of_two() - 1);
    if number < count { number } else { number - count.next_power_of_two() / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn addr(n: u64) -> LogAddr {
        LogAddr::from_units(n + 1).expect("small")
    }

    fn hash(addr: LogAddr) -> u64 {
        addr.units().wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29)
    }

    #[test]
    fn of_few_members_hardly_another_is_looked_at() {
        let mut members = Members::default();
        (0..SMALL as u64).for_each(|n| members.insert(hash(addr(n)), addr(n), hash));
        for n in 0..SMALL as u64 {
            let mut looks = 0;
            let mut look = |other| {
                looks += 1;
                other == addr(n)
            };
            let place = members.find(hash(addr(n)), &mut look).expect("there");
            // A copy takes its place.
            assert_eq!(members.replace(place, addr(100 + n)), addr(n));
            assert_eq!(members.find(hash(addr(n)), |other| other == addr(100 + n)), Some(place));
            assert_eq!(members.find(hash(addr(50 + n)), |_| panic!("of another hash")), None);
            assert_eq!(looks, 1);
            let mut candidates = Vec::new();
            members.candidates(&[hash(addr(n)), hash(addr(50))], |addr, hash| candidates.push((addr, hash)));
            assert_eq!(candidates, [(addr(100 + n), hash(addr(n)))]);
        }
    }

    /// Random insertions and removals beside a plain map, through several splits; then a scan while members come and go.
    #[test]
    fn members_are_found_as_in_a_plain_map() {
        let (mut members, mut model) = (Members::default(), HashMap::new());
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for step in 0..150_000u64 {
            let key = addr(random(60_000));
            let at = members.find(hash(key), |other| other == key);
            assert_eq!(at.is_some(), model.contains_key(&key), "step {step}");
            match at {
                Some(at) if random(3) == 0 => {
                    assert_eq!(members.remove(at, hash), key);
                    model.remove(&key);
                }
                Some(_) => {}
                None => {
                    members.insert(hash(key), key, hash);
                    model.insert(key, ());
                }
            }
            assert_eq!(members.len(), model.len());
        }
        assert!(members.tables.len() > 4, "{} tables", members.tables.len());
        let stays: Vec<LogAddr> = members.iter().step_by(3).collect();
        let mut seen = HashMap::new();
        let mut cursor = members.len();
        while cursor > 0 {
            for _ in 0..random(50) + 1 {
                cursor = cursor.min(members.len()).saturating_sub(1);
                seen.insert(members.at(cursor), ());
            }
            let victim = members.at(random(members.len() as u64) as usize);
            if !stays.contains(&victim) {
                members.remove(members.find(hash(victim), |other| other == victim).expect("there"), hash);
            }
        }
        assert!(stays.iter().all(|addr| seen.contains_key(addr)));
    }
}
