//! Making a pool and opening one.

use super::demand::Demand;
use super::epochs::Epochs;
use super::flow::Flows;
use super::format::{MAX_DATABASES, SEGMENT_BYTES_RANGE, Superblock};
use super::grow::{MAX_POOL_BYTES, write_free_headers};
use super::segments::Segments;
use super::superblock::{mend_pair, read_pair, write_copy};
use super::sync_mark::LEAST_DATA_OFFSET;
use super::{Pool, PoolError};
use crate::base::mutant::{self, Mutant};
use crate::base::sync::Mutex;
use crate::persist::{Region, RegionOptions};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Which pool, and how large when it is made.
#[derive(Clone)]
pub struct PoolOptions {
    /// The pool file; `None` for anonymous memory (the DRAM-only mode).
    pub path: Option<PathBuf>,
    /// Size of a new pool in bytes.
    pub bytes: u64,
    /// The size in bytes that the pool is meant to grow to; 0, or anything below its own size, for no growth.
    pub max_bytes: u64,
    /// Segment size of a new pool in bytes, a power of two; `None` chooses by both sizes.
    pub segment_bytes: Option<u64>,
    /// Stripes of a new pool, a power of two.
    pub stripes: u32,
    /// Time of creation, Unix milliseconds.
    pub now_ms: u64,
    /// How the region is mapped and flushed.
    pub region: RegionOptions,
}

fn random_bytes() -> Result<[u8; 32], PoolError> {
    let mut bytes = [0; 32];
    let mut source = std::fs::File::open("/dev/urandom").map_err(PoolError::Randomness)?;
    source.read_exact(&mut bytes).map_err(PoolError::Randomness)?;
    Ok(bytes)
}

/// Smallest and largest segments that are chosen without being asked for, in bytes.
const DEFAULT_SEGMENT_BYTES: (u64, u64) = (256 << 10, 8 << 20);

/// A segment size for a pool of `bytes` that may grow to `max_bytes`: about 128 segments then, but 16 to start with, from 256 KiB to 8 MiB each.
fn default_segment_bytes(bytes: u64, max_bytes: u64) -> u64 {
    let (least, most) = DEFAULT_SEGMENT_BYTES;
    // One more than 16 for what lies in front of the segments.
    let to_start_with = 1 << (bytes / 17).max(1).ilog2();
    (bytes.max(max_bytes) / 128).next_power_of_two().min(to_start_with).clamp(least, most)
}

/// What of a device has to be zeros so that a pool may be made on it: file systems, partition tables and other pools have something there.
const BLANK_START_BYTES: u64 = 2 << 20;
const BLANK_END_BYTES: u64 = 64 << 10;

/// Whether nothing is on the device, as far as its start and its end tell.
fn is_blank(region: &Region) -> bool {
    let end = region.len().saturating_sub(BLANK_END_BYTES);
    [(0, BLANK_START_BYTES.min(region.len())), (end, region.len() - end)].into_iter().all(|(at, len)| {
        let is_zero = region.read(at, len).is_ok_and(|bytes| bytes.iter().all(|&byte| byte == 0));
        is_zero && region.unreadable(at, len).is_empty()
    })
}

impl PoolOptions {
    /// The superblock of a new pool whose segments start at this byte or later. `identity` is its UUID and the key of its hash.
    fn plan(&self, identity: [u8; 32], data_from: u64) -> Result<Superblock, PoolError> {
        let fault = |why| PoolError::Size { bytes: self.bytes, why };
        let segment_bytes = self.segment_bytes.unwrap_or_else(|| default_segment_bytes(self.bytes, self.max_bytes));
        if !segment_bytes.is_power_of_two() || !SEGMENT_BYTES_RANGE.contains(&segment_bytes) {
            return Err(fault("its segment size is not a power of two from 4 KiB to 256 MiB"));
        }
        if self.bytes > MAX_POOL_BYTES {
            return Err(fault("the largest is 16 TiB"));
        }
        // Segments of 2 MiB and more start on a huge page of the mapping.
        let data_offset = segment_bytes.clamp(LEAST_DATA_OFFSET, 2 << 20).max(data_from);
        let segment_count = self.bytes.saturating_sub(data_offset) / segment_bytes;
        if segment_count < 4 {
            return Err(fault("it has no room for four segments; the smallest pool with default segments is 2mb"));
        }
        let segment_count = u32::try_from(segment_count).map_err(|_| fault("it would have too many segments"))?;
        let (uuid, hash_key) = identity.split_at(16);
        Ok(Superblock {
            generation: 0,
            uuid: uuid.try_into().expect("sixteen bytes"),
            hash_key: hash_key.try_into().expect("sixteen bytes"),
            pool_bytes: self.bytes,
            data_offset,
            segment_bytes,
            segment_count,
            stripe_count: self.stripes,
            // Set by the first opening.
            boot_id: [0; 16],
            clean: true,
            next_keyspace: MAX_DATABASES as u32 + 1,
            clock_floor_ms: 0,
            openings: 0,
            map_generation: 0,
            created_ms: self.now_ms,
            keyspaces: (1..=MAX_DATABASES as u32).collect(),
        })
    }
}

impl Pool {
    /// Opens the pool that the options name, or makes it when the file does not exist. `true` when it was made.
    ///
    /// Making writes the headers and the superblock to a file of another name, which becomes the pool by one rename: a crash
    /// at any point leaves either no pool or an empty one. On device DAX that is blank the pool is made in place, as large as the
    /// device; a crash leaves the device blank, or an empty pool, or, if it comes amid the 8 KiB of the superblocks, the remains of one.
    ///
    /// # Errors
    /// [`PoolError`]; an existing file, or a device that is not blank, is never written to then.
    pub fn open_or_create(options: &PoolOptions) -> Result<(Pool, bool), PoolError> {
        match &options.path {
            Some(path) if path.try_exists().unwrap_or(true) => {
                let region = Region::open(path, &options.region)?;
                if region.is_device() && is_blank(&region) {
                    return Ok((Self::create_on_device(region, options)?, true));
                }
                let is_device = region.is_device();
                Self::from_region(region, path).map(|pool| (pool, false)).map_err(|error| match error {
                    PoolError::NotAPool { path } if is_device => PoolError::NotBlank { path },
                    error => error,
                })
            }
            _ => {
                let pool = Self::create(options)?;
                pool.region.publish_file()?;
                Ok((pool, true))
            }
        }
    }

    /// Makes an empty pool. A file has its name only after [`Region::publish_file`]; dropped before that, it is gone.
    ///
    /// # Errors
    /// [`PoolError`]: the file exists, or there is no room.
    pub fn create(options: &PoolOptions) -> Result<Pool, PoolError> {
        let superblock = options.plan(random_bytes()?, 0)?;
        let region = match &options.path {
            Some(path) => Region::create(path, options.bytes, &options.region)?,
            None => Region::anonymous(options.bytes, &options.region)?,
        };
        Ok(Self::format(region, superblock))
    }

    /// Makes an empty pool of a whole device. Sizes asked for do not count.
    fn create_on_device(region: Region, options: &PoolOptions) -> Result<Pool, PoolError> {
        let options = PoolOptions { bytes: region.len(), max_bytes: 0, ..options.clone() };
        // The headers lie behind what has to be blank, so that a device on which a crash has left some of them is blank still.
        let superblock = options.plan(random_bytes()?, BLANK_START_BYTES)?;
        region.serve();
        Ok(Self::format(region, superblock))
    }

    /// Makes an empty pool in anonymous memory whose UUID (16 bytes) and hash key (16 bytes) are given, so that a test's pool is the same
    /// each time. A pool that is to last draws them from the system: see [`Pool::open_or_create`].
    ///
    /// # Errors
    /// [`PoolError::Size`], [`PoolError::Region`].
    pub fn create_with_identity(options: &PoolOptions, identity: [u8; 32]) -> Result<Pool, PoolError> {
        let superblock = options.plan(identity, 0)?;
        let region = Region::anonymous(options.bytes, &options.region)?;
        Ok(Self::format(region, superblock))
    }

    /// Writes headers and superblocks of an empty pool. Durable on return.
    fn format(region: Region, mut superblock: Superblock) -> Pool {
        write_free_headers(&region, &superblock, 0..superblock.segment_count);
        // The superblock says "pool": everything it speaks of must be durable first.
        if !mutant::active(Mutant::CreationUnordered) {
            region.fence();
        }
        for _copy in 0..2 {
            superblock.generation += 1;
            write_copy(&region, &superblock);
        }
        Self::assemble(region, superblock)
    }

    /// Opens an existing pool. Writes nothing.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn open(path: &Path, options: &RegionOptions) -> Result<Pool, PoolError> {
        Self::from_region(Region::open(path, options)?, path)
    }

    /// Opens a pool for looking at it only, even while a server has it open.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn open_read_only(path: &Path) -> Result<Pool, PoolError> {
        Self::from_region(Region::open_read_only(path)?, path)
    }

    /// The pool in a region that is already mapped, such as the image of a crash.
    ///
    /// # Errors
    /// [`PoolError`]; `path` is only named in them.
    pub fn from_region(region: Region, path: &Path) -> Result<Pool, PoolError> {
        let superblock = read_pair(&region, path)?;
        Ok(Self::assemble(region, superblock))
    }

    /// As [`Pool::from_region`], to save from it what is left: where both copies of the superblock are damaged, one is put together from the two
    /// if that can be done beyond doubt.
    ///
    /// # Errors
    /// [`PoolError`]; `path` is only named in them.
    pub fn from_damaged_region(region: Region, path: &Path) -> Result<Pool, PoolError> {
        let superblock = match read_pair(&region, path) {
            Err(error @ PoolError::SuperblocksDamaged { .. }) => mend_pair(&region).ok_or(error)?,
            found => found?,
        };
        if region.len() < superblock.pool_bytes {
            let (expected, found) = (superblock.pool_bytes, region.len());
            return Err(PoolError::Short { path: path.to_path_buf(), expected, found });
        }
        Ok(Self::assemble(region, superblock))
    }

    fn assemble(region: Region, superblock: Superblock) -> Pool {
        let segments = Segments::load(&region, &superblock);
        let epochs = Epochs::new(&region, superblock.data_offset);
        Pool {
            region,
            uuid: superblock.uuid,
            hash_key: superblock.hash_key,
            data_offset: superblock.data_offset,
            segment_bytes: superblock.segment_bytes,
            stripe_count: superblock.stripe_count,
            superblock: Mutex::new(superblock),
            segments,
            flows: Flows::default(),
            growing: Mutex::new(()),
            demand: Demand::default(),
            epochs,
            cut: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::format::SUPERBLOCK_BYTES;

    #[test]
    fn segments_suit_what_the_pool_is_to_grow_to_and_what_it_starts_with() {
        let chosen = |mib: u64, max_mib: u64| default_segment_bytes(mib << 20, max_mib << 20) >> 10;
        assert_eq!((chosen(4, 0), chosen(64, 0), chosen(1024, 0), chosen(1 << 20, 0)), (256, 512, 8192, 8192));
        assert_eq!(chosen(1024, 1 << 20), 8192, "many in any case");
        assert_eq!(chosen(64, 1 << 20), 2048, "31 to start with");
        assert_eq!(chosen(4, 64), 256);
        assert_eq!(chosen(64, 4), 512, "a maximum below the size is none");
    }

    fn device(bytes: &[u8]) -> Region {
        Region::from_image(bytes, &RegionOptions::default()).unwrap()
    }

    /// Somebody else's data, at any of these places, keeps a device from being taken for blank; so do the remains of a superblock.
    #[test]
    fn a_device_with_anything_at_its_start_or_its_end_is_not_blank() {
        let mut bytes = vec![0; 8 << 20];
        assert!(is_blank(&device(&bytes)));
        let end = bytes.len();
        // File systems at 0, 1 and 64 KiB; a partition table; what RAID keeps at the end.
        for at in [0, 512, 1024, 4096, 65600, (2 << 20) - 1, end - (64 << 10), end - 512, end - 1] {
            bytes[at] = 1;
            assert!(!is_blank(&device(&bytes)), "{at}");
            bytes[at] = 0;
        }
        bytes[3 << 20] = 1;
        assert!(is_blank(&device(&bytes)), "what is in the middle counts for nothing");
        assert!(is_blank(&device(&bytes[..4096])));
    }

    /// A crash while the pool is made, before the first superblock, leaves headers of segments: the device is blank still.
    #[test]
    fn a_pool_on_a_device_takes_all_of_it_and_its_headers_lie_behind_what_is_looked_at() {
        let options = PoolOptions {
            path: None,
            bytes: 1 << 20,
            max_bytes: 1 << 40,
            segment_bytes: None,
            stripes: 4,
            now_ms: 0,
            region: RegionOptions::default(),
        };
        for (mib, segments) in [(4, 8), (254, 126), (1024, 127)] {
            let pool = Pool::create_on_device(device(&vec![0; mib << 20]), &options).unwrap();
            let superblock = pool.superblock();
            assert_eq!((superblock.pool_bytes, superblock.segment_count), ((mib as u64) << 20, segments));
            let mut image = pool.region().read(0, pool.region().len()).unwrap().to_vec();
            assert!(!is_blank(&device(&image)));
            assert!(Pool::from_region(device(&image), Path::new("device")).is_ok());
            image[..2 * SUPERBLOCK_BYTES].fill(0);
            assert!(is_blank(&device(&image)), "only the superblocks are at the start");
        }
        let too_small = Pool::create_on_device(device(&vec![0; 2 << 20]), &options);
        assert!(matches!(too_small, Err(PoolError::Size { .. })));
    }
}
