//! One byte, line or page of an image damaged: recovery refuses or every value is right, and `pool check` names the place.

use crate::image::{
    Contents, DATA_AT, NOW_MS, Outcome, check, contents, image, images, options, pool_of, recover, used_bytes,
};
use fencepost::base::Clock;
use fencepost::pool::PoolError;
use fencepost::recovery::Progress;
use fencepost::store::{Store, StoreOptions};

#[test]
fn every_flipped_byte_of_a_closed_pool_is_named_and_never_changes_a_value() {
    let (image, expected) = image(true);
    assert!(expected.len() >= 5 && expected.values().any(|value| value.len() == 1500));
    assert!(check(&image).expect("opens").damage.is_empty());
    let used = used_bytes(&image);
    assert!(used.iter().filter(|used| **used).count() > 16_000, "several segments hold logs");
    for at in 0..image.len() {
        let mut damaged = image.clone();
        damaged[at] ^= 1 << (at % 8);
        if let Outcome::Recovered(found, _) = recover(&damaged) {
            assert_eq!(found, expected, "byte {at:#x} flipped");
        }
        let named = check(&damaged).is_none_or(|check| !check.damage.is_empty());
        assert_eq!(named, used[at], "byte {at:#x} flipped: named by the check, used by the pool");
    }
}

#[test]
fn every_flipped_byte_of_a_killed_pool_is_noticed_or_harmless() {
    let (image, expected) = image(false);
    for at in 0..image.len() {
        let mut damaged = image.clone();
        damaged[at] ^= 1 << (at % 8);
        if let Outcome::Recovered(found, unfinished) = recover(&damaged) {
            // The last batch of an open segment looks like a write in flight then: it is reported as one.
            assert!(found == expected || unfinished > 0, "byte {at:#x} flipped");
        }
    }
}

#[test]
fn zeroed_lines_and_pages_are_named_and_never_change_a_value() {
    let (image, expected) = image(true);
    let used = used_bytes(&image);
    for size in [64, 4096] {
        for at in (0..image.len()).step_by(size) {
            let mut damaged = image.clone();
            damaged[at..at + size].fill(0);
            if damaged == image {
                continue;
            }
            if let Outcome::Recovered(found, _) = recover(&damaged) {
                assert_eq!(found, expected, "{size} bytes at {at:#x} zeroed");
            }
            let named = check(&damaged).is_none_or(|check| !check.damage.is_empty());
            assert_eq!(named, used[at..at + size].contains(&true), "{size} bytes at {at:#x} zeroed");
        }
    }
}

#[test]
fn lines_moved_or_replaced_by_others_are_noticed() {
    let (image, expected) = image(true);
    for at in (DATA_AT as usize..image.len() - 128).step_by(64) {
        let mut damaged = image.clone();
        damaged.copy_within(at..at + 64, at + 64);
        if let Outcome::Recovered(found, _) = recover(&damaged) {
            assert_eq!(found, expected, "the line at {at:#x} copied over the next");
        }
    }
    // A whole segment in the place of another.
    for (from, to) in [(0usize, 1usize), (1, 0), (2, 1)] {
        let mut damaged = image.clone();
        let start = |segment: usize| DATA_AT as usize + segment * 4096;
        damaged.copy_within(start(from)..start(from) + 4096, start(to));
        assert!(matches!(recover(&damaged), Outcome::Refused), "segment {from} copied over {to}");
    }
}

#[test]
fn a_truncated_pool_is_refused_at_every_length() {
    let (image, _) = image(true);
    for len in (0..image.len()).step_by(512).skip(1) {
        assert!(pool_of(&image[..len]).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn a_pool_with_both_superblocks_damaged_is_refused_and_left_alone() {
    let (mut image, _) = image(true);
    image[100] ^= 1;
    image[4096 + 100] ^= 1;
    let error = pool_of(&image).err().expect("refused");
    assert!(matches!(error, PoolError::SuperblocksDamaged { .. }), "{error}");
    image[..8192].fill(0);
    assert!(matches!(pool_of(&image).err(), Some(PoolError::NotAPool { .. })));
}

#[test]
fn salvage_keeps_what_is_intact() {
    let (image, expected) = image(true);
    let mut damaged = image;
    // The body of the first batch of the first segment.
    damaged[DATA_AT as usize + 64 + 40] ^= 1;
    let pool = pool_of(&damaged).expect("superblocks are whole");
    let salvage = StoreOptions { salvage: true, ..options() };
    let store = Store::recover(pool, &salvage, Clock::manual(NOW_MS), &Progress::default()).expect("salvaged");
    assert_eq!(store.info().recovery_damaged, 1);
    // The first batch set key:0, which was set again later.
    assert_eq!(contents(&store), expected);
}

#[test]
fn lines_of_ones_of_an_older_state_or_swapped_never_change_a_value() {
    let (images, expected) = images(true);
    let (image, before) = images.split_last().expect("the last one");
    let harmless = |damaged: &[u8], what: String| {
        if damaged != image.as_slice() {
            if let Outcome::Recovered(found, _) = recover(damaged) {
                assert!(found == expected, "{what}");
            }
            let named = check(damaged).is_none_or(|check| !check.damage.is_empty());
            assert!(named || recover_is(damaged, &expected), "{what}: not named");
        }
    };
    for at in (0..image.len()).step_by(64) {
        let mut damaged = image.clone();
        damaged[at..at + 64].fill(0xFF);
        harmless(&damaged, format!("the line at {at:#x} is all ones"));
        let mut last: &[u8] = &[];
        for older in before.iter().map(|older| &older[at..at + 64]) {
            // Each of its states once.
            if older != last {
                let mut damaged = image.clone();
                damaged[at..at + 64].copy_from_slice(older);
                harmless(&damaged, format!("the line at {at:#x} is as it was before"));
            }
            last = older;
        }
        let other = (at + 64 * 37) % image.len();
        let mut damaged = image.clone();
        damaged[at..at + 64].copy_from_slice(&image[other..other + 64]);
        damaged[other..other + 64].copy_from_slice(&image[at..at + 64]);
        harmless(&damaged, format!("the lines at {at:#x} and {other:#x} are swapped"));
    }
}

fn recover_is(damaged: &[u8], expected: &Contents) -> bool {
    matches!(recover(damaged), Outcome::Recovered(found, _) if found == *expected)
}
