//! Reading and updating the superblock pair.

use super::Pool;
use super::format::{DatabaseMap, FORMAT_VERSION, SUPERBLOCK_BYTES, Superblock, SuperblockFault};
use super::{PoolError, format};
use crate::base::mutant::{self, Mutant};
use crate::base::sync::{MutexGuard, PoisonError};
use crate::persist::Region;
use std::path::Path;

/// Reads both copies; the whole one with the higher generation counts.
///
/// # Errors
/// [`PoolError::NotAPool`], [`PoolError::Version`], [`PoolError::SuperblocksDamaged`], [`PoolError::Short`].
pub(super) fn read_pair(region: &Region, path: &Path) -> Result<Superblock, PoolError> {
    let copy = |number: usize| {
        let at = (number * SUPERBLOCK_BYTES) as u64;
        if region.len() < at + SUPERBLOCK_BYTES as u64 {
            return Err(SuperblockFault::NotAPool);
        }
        let bytes = region.read(at, SUPERBLOCK_BYTES as u64).map_err(SuperblockFault::Unreadable)?;
        let found = Superblock::decode(bytes);
        match region.unreadable(at, SUPERBLOCK_BYTES as u64).first() {
            Some(&error) => Err(SuperblockFault::Unreadable(error)),
            None => found,
        }
    };
    let copies = [copy(0), copy(1)];
    let faults = [copies[0].as_ref().err().copied(), copies[1].as_ref().err().copied()];
    let current =
        copies.into_iter().flatten().max_by_key(|superblock| match mutant::active(Mutant::OlderSuperblockWins) {
            false => superblock.generation,
            true => u64::MAX - superblock.generation,
        });
    let Some(current) = current else { return Err(refusal(faults, path)) };
    if region.len() < current.pool_bytes {
        return Err(PoolError::Short { path: path.to_path_buf(), expected: current.pool_bytes, found: region.len() });
    }
    Ok(current)
}

/// The most lines in which two copies may differ for [`mend_pair`] to try all ways to mix them.
const MOST_MIXED_LINES: usize = 12;

/// Puts a superblock together from two damaged copies. At rest both say the same but for generation and checksum, so where damage has hit them
/// at different lines, one mixture of their lines has a checksum that holds: it takes 32 bits of chance for another one to pass.
pub(super) fn mend_pair(region: &Region) -> Option<Superblock> {
    if region.len() < 2 * SUPERBLOCK_BYTES as u64 {
        return None;
    }
    let read = |copy: u64| region.read(copy * SUPERBLOCK_BYTES as u64, SUPERBLOCK_BYTES as u64).ok();
    let (a, b) = (read(0)?, read(1)?);
    mend(a, b).or_else(|| mend(b, a))
}

/// `mine`, with lines of `other` in the place of damaged ones.
fn mend(mine: &[u8], other: &[u8]) -> Option<Superblock> {
    const GENERATION: std::ops::Range<usize> = 24..32;
    const CHECKSUM: std::ops::Range<usize> = SUPERBLOCK_BYTES - 4..SUPERBLOCK_BYTES;
    let generation = |bytes: &[u8]| bytes[GENERATION].try_into().map(u64::from_le_bytes).ok();
    let (own, others) = (generation(mine)?, generation(other)?);
    // The copies' generations follow each other.
    let generations = [own, others.wrapping_add(1), others.wrapping_sub(1)];
    let lines = (0..SUPERBLOCK_BYTES).step_by(format::LINE_BYTES as usize);
    let differing = |at: &usize| {
        let same = |byte: usize| mine[byte] == other[byte] || GENERATION.contains(&byte) || CHECKSUM.contains(&byte);
        !(*at..at + format::LINE_BYTES as usize).all(same)
    };
    let differing: Vec<usize> = lines.filter(differing).collect();
    if differing.len() > MOST_MIXED_LINES {
        return None;
    }
    for choice in 0u32..1 << differing.len() {
        let mut mixed = mine.to_vec();
        for (_, &at) in differing.iter().enumerate().filter(|(i, _)| choice >> i & 1 == 1) {
            let line = at..at + format::LINE_BYTES as usize;
            mixed[line.clone()].copy_from_slice(&other[line]);
        }
        mixed[CHECKSUM].copy_from_slice(&mine[CHECKSUM]);
        for generation in generations {
            mixed[GENERATION].copy_from_slice(&generation.to_le_bytes());
            if let Ok(superblock) = Superblock::decode(&mixed) {
                return Some(superblock);
            }
        }
    }
    None
}

fn refusal(faults: [Option<SuperblockFault>; 2], path: &Path) -> PoolError {
    let path = path.to_path_buf();
    let version = faults.iter().flatten().find_map(|fault| match *fault {
        SuperblockFault::Version { version, features } => Some((version, features)),
        _ => None,
    });
    if let Some((version, features)) = version {
        return PoolError::Version { path, version, features, supported: FORMAT_VERSION };
    }
    if faults == [Some(SuperblockFault::NotAPool); 2] {
        return PoolError::NotAPool { path };
    }
    PoolError::SuperblocksDamaged { path, fault: format!("{:?}, {:?}", faults[0], faults[1]) }
}

/// Writes `superblock` to the copy that its generation selects. Durable on return: 64 lines flushed, one fence.
pub(super) fn write_copy(region: &Region, superblock: &Superblock) {
    let copy = if mutant::active(Mutant::SuperblockInPlace) { 0 } else { superblock.generation % 2 };
    let at = copy * SUPERBLOCK_BYTES as u64;
    region.copy(at, &superblock.encode());
    // A crash before the fence may tear this copy; the other one still holds the state before.
    region.flush(at, SUPERBLOCK_BYTES as u64);
    if !mutant::active(Mutant::SuperblockNotFenced) {
        region.fence();
    }
}

impl Pool {
    /// The superblock as it is now.
    pub fn superblock(&self) -> Superblock {
        self.lock_superblock().clone()
    }

    pub(super) fn lock_superblock(&self) -> MutexGuard<'_, Superblock> {
        self.superblock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the superblock: durable on return, whole or not at all after a crash. Two copies of 64 lines, two fences; on a file also a sync before,
    /// so that what it says is never ahead of the log, and one behind the first copy. The second is there with the next sync, as the first already says it.
    ///
    /// Where a sync fails the pool is as [`Pool::sync_failure`] says.
    pub fn update_superblock(&self, change: impl FnOnce(&mut Superblock)) {
        let mut held = self.lock_superblock();
        if !mutant::active(Mutant::SuperblockAheadOfLog) {
            let _noted_by_the_pool = self.sync();
        }
        change(&mut held);
        for copy in 0..2 {
            held.generation += 1;
            write_copy(&self.region, &held);
            self.touch();
            if copy == 0 && !mutant::active(Mutant::SuperblockNotSynced) {
                let _noted_by_the_pool = self.sync();
            }
        }
    }

    /// Records that the pool is in use under this boot of the system, no longer cleanly closed. Before the first write.
    /// A database map that was found in the log is put in force by the same step.
    pub fn record_opening(&self, clock_floor_ms: u64, map: Option<&DatabaseMap>) {
        let boot_id = self.region.boot_id();
        self.update_superblock(|superblock| {
            // An update that a crash has torn bears the generation that would be next, in the copy that is written first now. Were it used
            // again, a second crash could leave just the lines that complete the torn update. Two more, and the copies take turns as before.
            superblock.generation += 2;
            superblock.boot_id = boot_id;
            superblock.clean = false;
            superblock.openings += 1;
            if let Some(map) = map {
                superblock.set_map(map);
            }
            superblock.clock_floor_ms = superblock.clock_floor_ms.max(clock_floor_ms);
        });
    }

    /// Records that nothing is left open. After the last write: every open segment must be sealed.
    pub fn record_close(&self, clock_floor_ms: u64) {
        self.update_superblock(|superblock| {
            superblock.clean = true;
            superblock.clock_floor_ms = superblock.clock_floor_ms.max(clock_floor_ms);
        });
    }

    /// Records that expiry has gone by this time, in Unix milliseconds.
    pub fn raise_clock_floor(&self, clock_floor_ms: u64) {
        self.update_superblock(|superblock| {
            superblock.clock_floor_ms = superblock.clock_floor_ms.max(clock_floor_ms);
        });
    }

    /// Whether the last user of the pool ran under another boot of the operating system than this one. Where the system does not tell it may have.
    pub fn boot_changed(&self) -> bool {
        let now = self.region.boot_id();
        now == [0; 16] || self.lock_superblock().boot_id != now
    }
}

const _: () = assert!(format::SUPERBLOCK_BYTES == 4096);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::RegionOptions;
    use crate::pool::PoolOptions;

    const LINE: usize = format::LINE_BYTES as usize;

    fn image(pool: &Pool) -> Vec<u8> {
        pool.region().read(0, pool.region().len()).unwrap().to_vec()
    }

    fn open(image: &[u8]) -> Pool {
        Pool::from_region(Region::from_image(image, &RegionOptions::default()).unwrap(), Path::new("image")).unwrap()
    }

    /// A crash tears an update, recovery goes on without it, and a second crash leaves of the superblock that recovery writes over the
    /// torn one any single line. None of them may complete the torn one.
    #[test]
    fn a_torn_update_is_not_completed_by_a_torn_opening() {
        let options = PoolOptions {
            path: None,
            bytes: 1 << 20,
            max_bytes: 0,
            segment_bytes: Some(4096),
            stripes: 4,
            now_ms: 0,
            region: RegionOptions::default(),
        };
        let (pool, _) = Pool::open_or_create(&options).unwrap();
        pool.record_opening(0, None);
        let before = image(&pool);
        let former = pool.superblock().keyspaces;
        pool.update_superblock(|superblock| superblock.keyspaces.swap(0, 1));
        let updated = image(&pool);
        let copy = (open(&before).superblock().generation as usize + 1) % 2 * SUPERBLOCK_BYTES;
        let differs = |at: &usize| before[copy + at..][..LINE] != updated[copy + at..][..LINE];
        let lines: Vec<usize> = (0..SUPERBLOCK_BYTES).step_by(LINE).filter(differs).collect();
        assert_eq!(lines.len(), 3, "generation, map and checksum: {lines:?}");
        for lost in lines {
            // The first copy of the update is there but for a line, the second has not been begun.
            let mut torn = before.clone();
            torn[copy..copy + SUPERBLOCK_BYTES].copy_from_slice(&updated[copy..copy + SUPERBLOCK_BYTES]);
            torn[copy + lost..][..LINE].copy_from_slice(&before[copy + lost..][..LINE]);
            let recovered = open(&torn);
            assert_eq!(recovered.superblock().keyspaces, former);
            recovered.record_opening(0, None);
            let opened = image(&recovered);
            for kept in (0..SUPERBLOCK_BYTES).step_by(LINE) {
                let mut mixed = torn.clone();
                mixed[copy + kept..][..LINE].copy_from_slice(&opened[copy + kept..][..LINE]);
                assert_eq!(open(&mixed).superblock().keyspaces, former, "lines {lost} lost and {kept} kept");
            }
        }
    }
}
