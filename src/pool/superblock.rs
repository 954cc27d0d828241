//! Reading and updating the superblock pair.

use super::Pool;
use super::format::{FORMAT_VERSION, SUPERBLOCK_BYTES, Superblock, SuperblockFault};
use super::{PoolError, format};
use crate::base::mutant::{self, Mutant};
use crate::persist::Region;
use std::path::Path;

/// Reads both copies; the whole one with the higher generation counts.
///
/// # Errors
/// [`PoolError::NotAPool`], [`PoolError::Version`], [`PoolError::SuperblocksDamaged`], [`PoolError::Short`], [`PoolError::Media`].
pub fn read_pair(region: &Region, path: &Path) -> Result<Superblock, PoolError> {
    let copy = |number: usize| {
        let at = (number * SUPERBLOCK_BYTES) as u64;
        if region.len() < at + SUPERBLOCK_BYTES as u64 {
            return Ok(Err(SuperblockFault::NotAPool));
        }
        let bytes = region.read(at, SUPERBLOCK_BYTES as u64);
        bytes.map(Superblock::decode).map_err(|fault| PoolError::Media { path: path.to_path_buf(), fault })
    };
    let copies = [copy(0)?, copy(1)?];
    let faults = [copies[0].as_ref().err().copied(), copies[1].as_ref().err().copied()];
    let current = copies.into_iter().flatten().max_by_key(|superblock| superblock.generation);
    let Some(current) = current else { return Err(refusal(faults, path)) };
    if region.len() < current.pool_bytes {
        return Err(PoolError::Short { path: path.to_path_buf(), expected: current.pool_bytes, found: region.len() });
    }
    Ok(current)
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

    fn lock_superblock(&self) -> std::sync::MutexGuard<'_, Superblock> {
        self.superblock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes the superblock: durable on return, whole or not at all after a crash. Two copies of 64 lines, two fences.
    pub fn update_superblock(&self, change: impl FnOnce(&mut Superblock)) {
        let mut held = self.lock_superblock();
        change(&mut held);
        for _copy in 0..2 {
            held.generation += 1;
            write_copy(&self.region, &held);
        }
    }

    /// Records that the pool is in use under this boot of the system, no longer cleanly closed. Before the first write.
    pub fn record_opening(&self, clock_floor_ms: u64) {
        let boot_id = super::create::boot_id();
        self.update_superblock(|superblock| {
            superblock.boot_id = boot_id;
            superblock.clean = false;
            superblock.openings += 1;
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

    /// Whether the last user of the pool ran under another boot of the operating system than this one.
    pub fn boot_changed(&self) -> bool {
        self.lock_superblock().boot_id != super::create::boot_id()
    }
}

const _: () = assert!(format::SUPERBLOCK_BYTES == 4096);
