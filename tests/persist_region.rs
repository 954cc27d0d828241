//! The region over files and anonymous memory: what is stored is read, what is outside is refused, and a pool file
//! comes, is locked and goes as promised.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fencepost::persist::{FlushChoice, Granularity, MediaError, Medium, Region, RegionError, RegionOptions};

const LEN: u64 = 1 << 16;

fn options() -> RegionOptions {
    RegionOptions::default()
}

fn creating(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".creating");
    name.into()
}

/// A directory on a disk file system and one on tmpfs, so that both media are met.
fn directories() -> Vec<tempfile::TempDir> {
    let mut all = vec![tempfile::tempdir().unwrap()];
    all.extend(tempfile::tempdir_in("/dev/shm"));
    all
}

fn assert_panics(what: &str, f: impl FnOnce()) {
    let hook = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    assert!(hook.is_err(), "{what} should have panicked");
}

/// Every way of writing, at every alignment and many lengths, leaves exactly its bytes there.
#[test]
fn every_write_lands_and_touches_nothing_else() {
    for flush in [FlushChoice::Auto, FlushChoice::Clflush] {
        let region = Region::anonymous(LEN, &RegionOptions { flush, ..options() }).unwrap();
        let mut expected = vec![0u8; LEN as usize];
        let mut round = 0u8;
        for at in [0u64, 1, 63, 64, 65, 4095, 4096] {
            for len in [0u64, 1, 7, 63, 64, 65, 127, 128, 200, 511, 512, 513, 2048, 4096] {
                for how in 0..3 {
                    round = round.wrapping_add(1);
                    let bytes: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(round)).collect();
                    match how {
                        0 => region.copy(at, &bytes),
                        1 => region.copy_nt(at, &bytes),
                        _ => region.write(at, &bytes),
                    }
                    region.flush(at, len);
                    region.fence();
                    expected[at as usize..(at + len) as usize].copy_from_slice(&bytes);
                    assert!(region.read(0, LEN).unwrap() == expected, "{how} {at} {len}");
                }
            }
        }
    }
}

#[test]
fn units_are_little_endian_and_in_their_place() {
    let region = Region::anonymous(LEN, &options()).unwrap();
    region.store_u64(LEN - 8, 0x0102_0304_0506_0708);
    region.persist(LEN - 8, 8);
    assert_eq!(region.load_u64(LEN - 8).unwrap(), 0x0102_0304_0506_0708);
    assert_eq!(region.read(LEN - 8, 8).unwrap(), [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(region.load_u64(LEN - 16).unwrap(), 0);
}

#[test]
fn what_lies_outside_is_refused() {
    let region = Region::anonymous(LEN, &options()).unwrap();
    for at in [LEN - 7, LEN, u64::MAX - 7, u64::MAX] {
        assert_panics("copy", || region.copy(at, &[1; 8]));
        assert_panics("copy_nt", || region.copy_nt(at, &[1; 8]));
        assert_panics("write", || region.write(at, &[1; 8]));
        assert_panics("write", || region.write(at, &[1; 1000]));
        assert_panics("flush", || region.flush(at, 8));
        assert_panics("populate", || region.populate(at, 8));
        assert_panics("store_u64", || region.store_u64(at, 1));
        assert_panics("load_u64", || assert!(region.load_u64(at).is_ok()));
        assert_panics("read", || assert!(region.read(at, 8).is_ok()));
    }
    assert_panics("a misaligned store", || region.store_u64(4, 1));
    assert_panics("a misaligned load", || assert!(region.load_u64(4).is_ok()));
    assert_panics("a length that overflows", || assert!(region.read(8, u64::MAX).is_ok()));
    assert_eq!(region.read(LEN, 0).unwrap(), [0u8; 0], "nothing at the very end is inside");
    assert!(region.read(0, LEN).unwrap().iter().all(|&byte| byte == 0));
    region.prefetch(LEN - 64, 1000);
    region.populate(0, LEN);
    region.populate(5000, 1);
}

#[test]
fn impossible_lengths_are_errors() {
    for len in [0, u64::MAX, i64::MAX as u64] {
        assert!(Region::anonymous(len, &options()).is_err(), "{len}");
        let dir = tempfile::tempdir().unwrap();
        assert!(Region::create(&dir.path().join("pool"), len, &options()).is_err(), "{len}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{len}");
    }
}

#[test]
fn media_are_recognised() {
    let dram = Region::anonymous(LEN, &options()).unwrap();
    assert_eq!(
        (dram.medium(), dram.granularity(), dram.flush_instruction()),
        (Medium::Dram, Granularity::None, "none")
    );
    assert!(!dram.medium().survives_process_kill());
    for dir in directories() {
        let region = Region::create(&dir.path().join("pool"), LEN, &options()).unwrap();
        assert!(region.medium().survives_process_kill());
        match region.medium() {
            Medium::Tmpfs => {
                assert_eq!(region.granularity(), Granularity::Emulated);
                assert_ne!(region.flush_instruction(), "none");
                assert!(!region.medium().survives_power_loss());
            }
            Medium::File => {
                assert_eq!(region.granularity(), Granularity::Page);
                assert_eq!(region.flush_instruction(), "none");
                assert!(!region.medium().survives_power_loss());
            }
            Medium::Dax => assert!(region.medium().survives_power_loss()),
            Medium::Dram => panic!("a file is not DRAM"),
        }
        assert!(region.medium() == Medium::Tmpfs || !dir.path().starts_with("/dev/shm"), "{region:?}");
    }
}

#[test]
fn a_pool_appears_only_when_published_and_keeps_its_bytes() {
    for dir in directories() {
        let path = dir.path().join("pool");
        let region = Region::create(&path, LEN, &options()).unwrap();
        assert!(!path.exists());
        region.write(100, b"before");
        region.fence();
        region.publish_file().unwrap();
        region.publish_file().unwrap();
        assert!(path.exists() && !creating(&path).exists());
        region.write(200, b"after");
        region.fence();
        region.sync().unwrap();
        drop(region);
        assert_eq!(fs::metadata(&path).unwrap().len(), LEN);

        let region = Region::open(&path, &options()).unwrap();
        assert_eq!(region.len(), LEN);
        assert_eq!(region.read(100, 6).unwrap(), b"before");
        assert_eq!(region.read(200, 5).unwrap(), b"after");
        assert_eq!(region.path(), Some(path.as_path()));
    }
}

#[test]
fn all_blocks_of_a_new_pool_are_allocated() {
    use std::os::unix::fs::MetadataExt;
    for dir in directories() {
        let path = dir.path().join("pool");
        let _region = Region::create(&path, 3 << 20, &options()).unwrap();
        assert!(fs::metadata(creating(&path)).unwrap().blocks() * 512 >= 3 << 20);
    }
}

#[test]
fn an_unpublished_pool_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(Region::create(&dir.path().join("pool"), LEN, &options()).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn nothing_that_exists_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let region = Region::create(&path, LEN, &options()).unwrap();
    fs::write(&path, "mine").unwrap();
    assert!(matches!(region.publish_file(), Err(RegionError::AlreadyExists { .. })));
    drop(region);
    assert!(matches!(Region::create(&path, LEN, &options()), Err(RegionError::AlreadyExists { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert!(!creating(&path).exists());
}

#[test]
fn a_leftover_is_taken_over_and_starts_as_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    fs::write(creating(&path), vec![7u8; 2 * LEN as usize]).unwrap();
    let region = Region::create(&path, LEN, &options()).unwrap();
    assert!(region.read(0, LEN).unwrap().iter().all(|&byte| byte == 0));
    region.publish_file().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), LEN);
}

#[test]
fn a_leftover_name_of_a_published_pool_does_not_cost_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("pool"), dir.path().join("moved"));
    fs::write(&moved, "a pool that was published by a link and then moved").unwrap();
    fs::hard_link(&moved, creating(&path)).unwrap();
    Region::create(&path, LEN, &options()).unwrap().publish_file().unwrap();
    assert!(fs::read(&moved).unwrap().starts_with(b"a pool"));
    assert_eq!(fs::metadata(&path).unwrap().len(), LEN);
}

#[test]
fn a_region_can_start_as_an_image() {
    let region = Region::from_image(&[9; 5000], &options()).unwrap();
    assert_eq!((region.len(), region.medium()), (5000, Medium::Dram));
    assert!(region.read(0, 5000).unwrap().iter().all(|&byte| byte == 9));
    region.write(4999, &[1]);
    assert!(Region::from_image(&[], &options()).is_err());
}

#[test]
fn a_live_creator_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let first = Region::create(&path, LEN, &options()).unwrap();
    first.write(0, b"first");
    assert!(matches!(Region::create(&path, LEN, &options()), Err(RegionError::BeingCreated { .. })));
    first.publish_file().unwrap();
    drop(first);
    assert_eq!(Region::open(&path, &options()).unwrap().read(0, 5).unwrap(), b"first");
}

#[test]
fn a_second_server_is_refused_and_a_reader_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let region = Region::create(&path, LEN, &options()).unwrap();
    region.publish_file().unwrap();
    let refused = Region::open(&path, &options()).unwrap_err();
    assert!(matches!(refused, RegionError::InUse { .. }));
    assert!(refused.to_string().contains(path.to_str().unwrap()));

    let reader = Region::open_read_only(&path).unwrap();
    assert!(reader.in_use());
    region.write(0, b"seen");
    assert_eq!(reader.read(0, 4).unwrap(), b"seen");
    drop((reader, region));

    let reader = Region::open_read_only(&path).unwrap();
    assert!(!reader.in_use());
    drop(reader);
    Region::open(&path, &options()).unwrap();
}

#[test]
fn a_read_only_region_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    Region::create(&path, LEN, &options()).unwrap().publish_file().unwrap();
    let region = Region::open_read_only(&path).unwrap();
    assert!(!region.is_writable());
    assert_panics("copy", || region.copy(0, b"x"));
    assert_panics("copy_nt", || region.copy_nt(0, b"x"));
    assert_panics("write", || region.write(0, &[0; 4096]));
    assert_panics("store_u64", || region.store_u64(0, 1));
    assert_panics("flush", || region.flush(0, 1));
    region.sync().unwrap();
    region.populate(0, LEN);
    assert_eq!(region.read(0, 1).unwrap(), [0]);
}

#[test]
fn what_cannot_hold_a_pool_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let open = |path: &Path| Region::open(path, &options()).unwrap_err();
    assert!(matches!(open(&at("nothing")), RegionError::NotFound { .. }));
    assert!(matches!(open(dir.path()), RegionError::NotAFile { kind: "a directory", .. }));
    assert!(matches!(open(Path::new("/dev/null")), RegionError::CharacterDevice { .. }));
    fs::write(at("empty"), "").unwrap();
    assert!(matches!(open(&at("empty")), RegionError::Empty { .. }));
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    assert!(matches!(open(&at("socket")), RegionError::NotAFile { kind: "a socket", .. }));
    let missing = Region::create(&at("no/such/pool"), LEN, &options()).unwrap_err();
    assert!(matches!(missing, RegionError::DirectoryMissing { .. }));
    std::os::unix::fs::symlink(at("elsewhere"), at("link.creating")).unwrap();
    assert!(Region::create(&at("link"), LEN, &options()).is_err(), "a link is not followed");
    assert!(!at("elsewhere").exists());
}

/// A file system that is too small says so at once, with numbers, and keeps nothing.
#[test]
fn a_pool_larger_than_the_disk_is_refused_cleanly() {
    for dir in directories() {
        let path = dir.path().join("pool");
        let error = Region::create(&path, 1 << 45, &options()).unwrap_err();
        match &error {
            RegionError::NoSpace { needed, available, .. } => {
                assert_eq!(*needed, 1 << 45);
                assert!(*available < 1 << 45);
            }
            // A file system with a limit on the size of one file.
            RegionError::BadLength { .. } => {}
            other => panic!("{other}"),
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_pool_that_may_not_be_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    Region::create(&path, LEN, &options()).unwrap().publish_file().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    match Region::open(&path, &options()) {
        Err(RegionError::NotPermitted { .. }) => {}
        // The superuser may write anything.
        Ok(_) => assert!(fs::OpenOptions::new().write(true).open(&path).is_ok()),
        Err(other) => panic!("{other}"),
    }
    Region::open_read_only(&path).unwrap();
}

/// A file system that knows MAP_SYNC refuses it, for a file without DAX, only after it has unmapped what was at the address asked for. The region
/// once gave that range back a second time, and with it whatever another thread had mapped there meanwhile.
#[test]
fn opening_a_file_takes_no_memory_from_other_threads() {
    // On the disk that the build is on: tmpfs refuses before it unmaps.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("pool");
    let region = Region::create(&path, 64 << 20, &RegionOptions::default()).unwrap();
    region.publish_file().unwrap();
    drop(region);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut kept = std::collections::VecDeque::new();
            for size in [33usize, 5, 60, 17, 64, 48].into_iter().cycle() {
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                kept.push_back(memmap2::MmapMut::map_anon(size << 20).unwrap());
                // Touching one that was unmapped ends the test with a signal.
                kept.iter_mut().for_each(|block| block[4096] = 1);
                kept.truncate(2);
                kept.pop_front();
            }
        });
        for _ in 0..20_000 {
            drop(Region::open(&path, &RegionOptions::default()).unwrap());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// Bytes of pages that this thread has made dirty.
fn dirtied_bytes() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

/// The page cache writes what was stored to page by page. With huge pages, as they were once asked for, each line took 2 MiB to the disk.
#[test]
fn a_sync_of_a_file_takes_no_more_than_pages_to_the_disk() {
    const STEP: u64 = 2 << 20;
    const LINES: u64 = 16;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("pool");
    let region = Region::create(&path, LINES * STEP, &options()).unwrap();
    region.publish_file().unwrap();
    drop(region);
    for round in 0..2 {
        let region = Region::open(&path, &options()).unwrap();
        let before = dirtied_bytes();
        for line in 0..LINES {
            // In the first round the blocks have never been written, in the second they are in the page cache.
            region.read_ahead(line * STEP, STEP);
            region.copy(line * STEP + 4096 * line, &[7; 64]);
            region.sync().unwrap();
        }
        let dirtied = dirtied_bytes() - before;
        assert!(dirtied <= LINES * (64 << 10), "round {round}: {LINES} lines took {dirtied} bytes to the disk");
    }
}

/// What was there stays where it was, what comes is zeros and usable, and the file is as long as the region says.
#[test]
fn a_region_grows_in_its_place() {
    // Below and above the size from which memory is mapped; not whole pages, which a pool never has, as well.
    for (len, steps) in
        [(LEN, [LEN + 4096, 5 * LEN, 6 * LEN]), (5000, [5001, 9000, 40_000]), (3 << 20, [4 << 20, 5 << 20, 9 << 20])]
    {
        let reserve = steps[2];
        let options = RegionOptions { reserve_bytes: reserve, ..options() };
        let memory = Region::anonymous(len, &options).unwrap();
        grows(&memory, len, &steps);
        for dir in directories() {
            let path = dir.path().join("pool");
            let region = Region::create(&path, len, &options).unwrap();
            region.publish_file().unwrap();
            grows(&region, len, &steps);
            drop(region);
            assert_eq!(fs::metadata(&path).unwrap().len(), reserve);
            let region = Region::open(&path, &RegionOptions { reserve_bytes: 2 * reserve, ..options.clone() }).unwrap();
            assert_eq!(region.len(), reserve);
            assert_eq!(region.read(reserve - 1, 1).unwrap(), [3]);
            region.grow(reserve, 2 * reserve).unwrap();
            assert_eq!(region.read(reserve - 1, 2).unwrap(), [3, 0]);
        }
    }
}

fn grows(region: &Region, len: u64, steps: &[u64]) {
    region.write(0, &vec![7; len as usize]);
    let first = region.read(0, len).unwrap();
    let mut end = len;
    for (number, &to) in steps.iter().enumerate() {
        assert_panics("a read behind the end", || assert!(region.read(end, 1).is_err()));
        region.grow(end, to).unwrap();
        assert_eq!(region.len(), to);
        assert!(region.read(end, to - end).unwrap().iter().all(|&byte| byte == 0));
        region.write(end, &vec![number as u8 + 1; (to - end) as usize]);
        region.fence();
        region.populate(end, to - end);
        end = to;
    }
    region.sync().unwrap();
    assert!(std::ptr::eq(first, region.read(0, len).unwrap()));
    assert!(first.iter().all(|&byte| byte == 7));
    assert_panics("a write behind the end", || region.write(end, &[1]));
    assert!(matches!(region.grow(end, end + 4096), Err(RegionError::NotReserved { .. })));
    assert_eq!(region.len(), end);
    region.grow(0, 10).unwrap();
    assert_eq!(region.len(), end, "it never shrinks");
}

#[test]
fn a_region_grows_no_further_than_the_disk_has_room_for() {
    for dir in directories() {
        let path = dir.path().join("pool");
        let region = Region::create(&path, LEN, &RegionOptions { reserve_bytes: 1 << 42, ..options() }).unwrap();
        region.publish_file().unwrap();
        let refused = region.grow(LEN, 1 << 42).unwrap_err();
        assert!(matches!(refused, RegionError::NoSpaceToGrow { .. }), "{refused}");
        assert_eq!((region.len(), fs::metadata(&path).unwrap().len()), (LEN, LEN), "what was taken is given back");
        region.grow(LEN, 2 * LEN).unwrap();
        region.write(LEN, &[1; LEN as usize]);
    }
}

/// Address space that is refused costs the region room to grow, and nothing else.
#[test]
fn a_region_does_with_less_address_space_than_it_asked_for() {
    let region = Region::anonymous(4 << 20, &RegionOptions { reserve_bytes: 1 << 60, ..options() }).unwrap();
    let reserved = region.reserved_bytes();
    assert!((8 << 20..1 << 47).contains(&reserved), "{reserved}");
    region.grow(4 << 20, 6 << 20).unwrap();
    region.write(5 << 20, &[1; 1 << 20]);
}

/// The handler of SIGBUS knows how far a mapping reaches after it has grown.
#[test]
fn what_cannot_be_read_of_the_part_that_came_is_known() {
    for dir in directories() {
        let path = dir.path().join("pool");
        Region::create(&path, LEN, &options()).unwrap().publish_file().unwrap();
        let region = Region::open(&path, &RegionOptions { reserve_bytes: 4 * LEN, ..options() }).unwrap();
        region.grow(LEN, 4 * LEN).unwrap();
        region.write(3 * LEN, &[1; 8]);
        fs::File::options().write(true).open(&path).unwrap().set_len(2 * LEN).unwrap();
        assert_eq!(region.read(3 * LEN, 1).unwrap(), [0]);
        assert_eq!(region.unreadable(0, 4 * LEN), [MediaError { at: 3 * LEN, len: 4096 }]);
    }
}
