//! Which crash states are enumerated, that none is missed, and that what is left out can be told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;

use super::memory::Memory;
use pmem_emulation::{
    Choice, CrashToken, Domain, Flaw, Hook, Kept, Lazy, Note, Recorder, RecorderOptions, Replay, Trace, Values,
};

const LEN: usize = 512;

fn trace(domain: Domain, len: usize, run: impl FnOnce(&Memory)) -> Trace {
    let recorder = Recorder::new(RecorderOptions { domain, ..RecorderOptions::default() });
    let memory = Memory::new(len, Arc::clone(&recorder) as Arc<dyn Hook>);
    run(&memory);
    recorder.trace()
}

fn at_the_end(trace: &Trace, domain: Domain) -> Replay<'_> {
    let mut replay = Replay::new(trace, domain);
    while replay.step() {}
    replay
}

/// Runs `recover` on each image that the lazy choice comes to; it reads through the memory that it is given.
fn lazily(replay: &mut Replay<'_>, lazy: &mut Lazy, recover: &mut dyn FnMut(&[u8], &Memory)) {
    while let Some(run) = lazy.next_run() {
        replay.with_image(&run.kept, |image| {
            let memory = Memory::new(image.len(), Arc::clone(&run.reads) as Arc<dyn Hook>);
            memory.poke(0, image);
            recover(image, &memory);
        });
        lazy.done(&run);
    }
}

const ALL: Values = Values { exhaustive_units: 16 };

/// All images at a cut: a recovery that reads everything.
fn every_image(replay: &mut Replay<'_>) -> BTreeSet<Vec<u8>> {
    let mut images = BTreeSet::new();
    let mut lazy = replay.lazy(ALL);
    lazily(replay, &mut lazy, &mut |image, memory| {
        memory.read(0, image.len() as u64).unwrap();
        assert!(images.insert(image.to_vec()), "an image is tried once");
    });
    images
}

/// A few stores, copies, flushes and fences, some of them within operations.
fn small_mix(memory: &Memory, seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    let (mut op, mut open) = (0, false);
    for step in 1..=12u64 {
        let at = below(3) * 64 + below(3) * 8;
        match below(9) {
            0 | 1 => memory.store(at, step),
            2 => memory.copy(at + 4, &[step as u8; 9]),
            3 => memory.flush(at, 16),
            4 => memory.flush(0, 192),
            5 | 6 => memory.fence(),
            7 if open => {
                memory.note(Note::Ack(op));
                open = false;
            }
            _ if !open => {
                op += 1;
                open = true;
                memory.note(Note::Begin(op));
            }
            _ => memory.copy_nt(256, &[step as u8; 64]),
        }
    }
}

/// Everything that the model can meet by chance is enumerated.
#[test]
fn no_image_is_missed() {
    for seed in 0..40 {
        let trace = trace(Domain::Adr, LEN, |memory| small_mix(memory, seed));
        let mut replay = at_the_end(&trace, Domain::Adr);
        let images = every_image(&mut replay);
        for choice in 0..300 {
            let image = replay.image(&Choice::Random(choice)).into_owned();
            assert!(images.contains(&image), "seed {seed}, choice {choice}");
        }
        for kept in replay.representatives() {
            assert!(replay.with_image(&kept, |image| images.contains(image)), "seed {seed}, {kept}");
        }
    }
}

/// The image, what is acknowledged, and what is acknowledged or under way.
type Seen = BTreeMap<Vec<u8>, Vec<(BTreeSet<u64>, BTreeSet<u64>)>>;

fn see(replay: &mut Replay<'_>, seen: &mut Seen) {
    let promises = replay.promises();
    let acknowledged: BTreeSet<u64> = promises.acknowledged.iter().copied().collect();
    let begun: BTreeSet<u64> = acknowledged.iter().chain(promises.unanswered).copied().collect();
    for image in every_image(replay) {
        seen.entry(image).or_default().push((acknowledged.clone(), begun.clone()));
    }
}

/// What a cut at any event can leave is left by a cut before a fence, before a beginning or after an end as well, with promises that are at
/// least as strict: so only those need to be tried.
#[test]
fn cuts_at_fences_and_promises_are_enough() {
    let mut states = 0;
    for seed in 0..40 {
        let trace = trace(Domain::Adr, LEN, |memory| small_mix(memory, seed));
        let (mut chosen, mut all) = (Seen::new(), Seen::new());
        let mut replay = Replay::new(&trace, Domain::Adr);
        see(&mut replay, &mut chosen);
        while replay.next_cut() {
            see(&mut replay, &mut chosen);
        }
        let mut replay = Replay::new(&trace, Domain::Adr);
        see(&mut replay, &mut all);
        while replay.step() {
            see(&mut replay, &mut all);
        }
        for (image, promises) in &all {
            let strict = chosen.get(image).unwrap_or_else(|| panic!("seed {seed}: a new image"));
            for (acknowledged, begun) in promises {
                let covers = |(other, other_begun): &(BTreeSet<u64>, BTreeSet<u64>)| {
                    other.is_superset(acknowledged) && other_begun.is_subset(begun)
                };
                assert!(strict.iter().any(covers), "seed {seed}: a stricter promise at an event between");
                states += 1;
            }
        }
    }
    assert!(states > 10_000, "only {states} states were compared");
}

/// A recovery that follows a pointer to one of two slots: what it finds.
fn follow_pointer(memory: &Memory, image: &[u8]) -> (u8, Vec<u8>) {
    memory.read(0, 8).unwrap();
    let slot = 64 + 128 * u64::from(image[0]);
    memory.read(slot, 16).unwrap();
    (image[0], image[slot as usize..][..16].to_vec())
}

#[test]
fn lazy_choice_finds_the_same_with_fewer_runs() {
    let trace = trace(Domain::Adr, LEN, |memory| {
        memory.copy(64, &[1; 24]);
        memory.copy(192, &[2; 24]);
        memory.store(0, 1);
    });
    let mut replay = at_the_end(&trace, Domain::Adr);
    let mut lazy = replay.lazy(ALL);
    let mut found = BTreeSet::new();
    lazily(&mut replay, &mut lazy, &mut |image, memory| {
        found.insert(follow_pointer(memory, image));
    });
    // Each slot is looked at with one value of the pointer only.
    assert_eq!((lazy.product(), lazy.runs()), (8 * 8 * 2, 8 + 8));
    let mut everything = BTreeSet::new();
    let quiet = Memory::new(LEN, Recorder::new(RecorderOptions::default()));
    let mut all = replay.lazy(Values { exhaustive_units: 16 });
    lazily(&mut replay, &mut all, &mut |image, memory| {
        // With everything read first no laziness is left.
        memory.read(0, 8).unwrap();
        memory.read(64, 1).unwrap();
        memory.read(192, 1).unwrap();
        everything.insert(follow_pointer(&quiet, image));
    });
    assert_eq!(all.runs(), all.product());
    assert_eq!(found, everything);
}

#[test]
fn a_line_that_is_overwritten_before_it_is_read_has_one_value() {
    let trace = trace(Domain::Adr, LEN, |memory| {
        memory.store(0, 1);
        memory.store(64, 1);
    });
    let mut replay = at_the_end(&trace, Domain::Adr);
    let mut lazy = replay.lazy(ALL);
    lazily(&mut replay, &mut lazy, &mut |_, memory| {
        memory.copy(0, &[7; 64]);
        memory.read(0, 128).unwrap();
    });
    assert_eq!(lazy.runs(), 2);
}

/// A write too large for all of its subsets has those that a checksum must tell from the whole.
#[test]
fn a_large_write_has_each_unit_alone_wrong() {
    let trace = trace(Domain::Adr, LEN, |memory| memory.copy(0, &[1; 192]));
    let mut replay = at_the_end(&trace, Domain::Adr);
    let object = &replay.objects()[0];
    assert_eq!((object.lines(), object.changed_units(), object.is_one_write()), (&[0, 64, 128][..], 24, true));
    let mut images = BTreeSet::new();
    let mut lazy = replay.lazy(Values { exhaustive_units: 8 });
    lazily(&mut replay, &mut lazy, &mut |image, memory| {
        memory.read(0, 1).unwrap();
        images.insert(image[..192].to_vec());
    });
    for unit in 0..24 {
        let (mut missing, mut alone) = (vec![1; 192], vec![0; 192]);
        missing[unit * 8..][..8].fill(0);
        alone[unit * 8..][..8].fill(1);
        assert!(images.contains(&missing) && images.contains(&alone), "unit {unit}");
    }
    assert!(images.contains(&vec![0; 192]) && images.contains(&vec![1; 192]));
    assert!(images.len() < 80, "{} images", images.len());
}

#[test]
fn an_image_is_shown_in_place_and_taken_back() {
    let trace = trace(Domain::Adr, LEN, |memory| small_mix(memory, 3));
    let mut replay = at_the_end(&trace, Domain::Adr);
    let durable = replay.image(&Choice::Durable).into_owned();
    let everything = replay.everything();
    assert_ne!(replay.image(&Choice::Kept(everything)).into_owned(), durable);
    assert_eq!(replay.image(&Choice::Durable).into_owned(), durable);
    assert_eq!(replay.with_image(&Kept::default(), <[u8]>::to_vec), durable);
}

/// Two images have one hash if and only if they are the same, also across cuts.
#[test]
fn images_are_told_apart_by_their_hash() {
    let trace = trace(Domain::Adr, LEN, |memory| small_mix(memory, 8));
    let mut replay = Replay::new(&trace, Domain::Adr);
    let mut by_hash: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut images = BTreeSet::new();
    loop {
        for seed in 0..200 {
            let kept = replay.random(seed);
            let hash = replay.image_hash(&kept);
            let image = replay.with_image(&kept, <[u8]>::to_vec);
            assert_eq!(by_hash.entry(hash).or_insert_with(|| image.clone()), &image);
            images.insert(image);
        }
        if !replay.step() {
            break;
        }
    }
    assert_eq!(by_hash.len(), images.len());
}

#[test]
fn what_is_kept_reads_back_as_written() {
    let trace = trace(Domain::Adr, LEN, |memory| small_mix(memory, 5));
    let replay = at_the_end(&trace, Domain::Adr);
    for seed in 0..50 {
        let token = CrashToken { position: 12, choice: Choice::Kept(replay.random(seed)) };
        assert_eq!(token.to_string().parse(), Ok(token));
    }
    assert_eq!("-".parse(), Ok(Kept::default()));
    for wrong in ["", "zz=ff", "40", "40=fff", "40=ff+"] {
        assert!(wrong.parse::<Kept>().is_err(), "{wrong}");
    }
}

const PAGE: usize = 4096;

#[test]
fn pages_of_a_file_are_kept_or_lost_whole_and_by_prefix() {
    let trace = trace(Domain::PageCache, 3 * PAGE, |memory| {
        memory.store(0, 1);
        memory.flush(0, 8);
        memory.fence();
        memory.store(PAGE as u64, 2);
        memory.store(64, 3);
    });
    let mut replay = at_the_end(&trace, Domain::PageCache);
    let found: BTreeSet<_> = every_image(&mut replay).iter().map(|image| (image[0], image[64], image[PAGE])).collect();
    // A fence means nothing to a disk; within a page nothing overtakes.
    let pages = [(0, 0), (1, 0), (1, 3)];
    let expected = pages.iter().flat_map(|&(first, later)| [(first, later, 0), (first, later, 2)]).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_sync_makes_every_page_durable() {
    let trace = trace(Domain::PageCache, 3 * PAGE, |memory| {
        memory.copy(10, &[1; 9000]);
        memory.sync();
        memory.store(8192, 5);
    });
    let mut replay = at_the_end(&trace, Domain::PageCache);
    let images = every_image(&mut replay);
    assert_eq!(images.len(), 2);
    assert!(images.iter().all(|image| image[10..8192] == [1; 8182]));
    // To persistent memory a sync is nothing.
    let mut replay = at_the_end(&trace, Domain::Adr);
    assert_eq!(replay.image(&Choice::Durable).into_owned(), vec![0; 3 * PAGE]);
}

/// Of a page that is being written when the power fails some sectors are new.
#[test]
fn a_page_is_torn_between_sectors() {
    let trace = trace(Domain::PageCache, PAGE, |memory| memory.copy(0, &[1; 1536]));
    let mut replay = at_the_end(&trace, Domain::PageCache);
    let found: BTreeSet<_> =
        every_image(&mut replay).iter().map(|image| [0, 511, 512, 1023, 1024].map(|at| image[at])).collect();
    assert_eq!(found.len(), 8);
    assert!(found.contains(&[1, 1, 0, 0, 1]));
}

/// Whether some state at some cut breaks `check`.
fn is_caught(trace: &Trace, flaw: Flaw, check: &dyn Fn(&[u8], &[u64]) -> bool) -> bool {
    let mut replay = Replay::with_flaw(trace, Domain::Adr, flaw);
    let mut caught = false;
    while replay.next_cut() {
        let acknowledged = replay.promises().acknowledged.to_vec();
        caught |= every_image(&mut replay).iter().any(|image| !check(image, &acknowledged));
    }
    caught
}

/// A log whose commit record of 16 bytes is taken to be atomic: found because copies are torn, and only then.
#[test]
fn without_tearing_a_commit_record_of_two_units_would_pass() {
    let trace = trace(Domain::Adr, LEN, |memory| {
        memory.note(Note::Begin(1));
        memory.copy(0, &[9; 16]);
        memory.flush(0, 16);
        memory.fence();
        memory.note(Note::Ack(1));
    });
    let whole = |image: &[u8], _: &[u64]| image[0] == image[15];
    assert!(is_caught(&trace, Flaw::None, &whole));
    assert!(!is_caught(&trace, Flaw::NoTearing, &whole));
}

/// An operation whose fence is another thread's: found because a fence completes its own thread's flushes only.
#[test]
fn with_any_fence_a_fence_by_another_thread_would_pass() {
    let trace = trace(Domain::Adr, LEN, |memory| {
        memory.note(Note::Begin(1));
        memory.store(0, 1);
        memory.flush(0, 8);
        thread::scope(|scope| {
            scope.spawn(|| {
                memory.store(64, 1);
                memory.flush(64, 8);
                memory.fence();
            });
        });
        memory.note(Note::Ack(1));
    });
    let kept = |image: &[u8], acknowledged: &[u64]| acknowledged.is_empty() || image[0] == 1;
    assert!(is_caught(&trace, Flaw::None, &kept));
    assert!(!is_caught(&trace, Flaw::AnyFence, &kept));
}

#[test]
fn a_million_events_are_recorded() {
    const EVENTS: u64 = 1_000_000;
    let options = RecorderOptions { compare_up_to_bytes: 0, ..RecorderOptions::default() };
    let recorder = Recorder::new(options);
    let memory = Memory::new(LEN, Arc::clone(&recorder) as Arc<dyn Hook>);
    for event in (0..EVENTS).step_by(4) {
        memory.store(event % 64 * 8, event);
        memory.copy(event % 32 * 8, &[event as u8; 24]);
        memory.flush(0, LEN as u64);
        memory.fence();
    }
    let trace = recorder.trace();
    assert_eq!((trace.events().len() as u64, trace.is_truncated()), (EVENTS, false));
    let mut replay = at_the_end(&trace, Domain::Adr);
    assert_eq!(replay.position() as u64, EVENTS);
    assert_eq!(replay.image(&Choice::Durable).into_owned(), memory.bytes());
}

/// A cut before a growth leaves a short region, one behind it a long one, of which the new part is zeros until something written there is durable.
#[test]
fn a_region_that_grows_is_as_long_after_a_crash_as_it_was() {
    let trace = trace(Domain::Adr, LEN, |memory| {
        memory.store(0, 1);
        memory.grow(2 * LEN as u64);
        memory.store(LEN as u64, 2);
        memory.flush(LEN as u64, 8);
        memory.fence();
        memory.store(8, 3);
    });
    let word = |image: &[u8], at: usize| image[at];
    let mut replay = Replay::new(&trace, Domain::Adr);
    let mut seen = Vec::new();
    while replay.step() {
        let everything = replay.everything();
        let hash = replay.image_hash(&everything);
        let look = |image: &[u8]| (image.len(), image.get(LEN).copied());
        seen.push((replay.with_image(&Kept::default(), look), replay.with_image(&everything, look)));
        let again = replay.with_image(&everything, <[u8]>::to_vec);
        assert_eq!(word(&again, 0), 1);
        // The hash is kept up through the growth.
        let mut anew = Replay::new(&trace, Domain::Adr);
        while anew.position() < replay.position() {
            anew.step();
        }
        assert_eq!(hash, anew.image_hash(&everything));
    }
    let (short, zero, two) = ((LEN, None), (2 * LEN, Some(0)), (2 * LEN, Some(2)));
    assert_eq!(seen, [(short, short), (zero, zero), (zero, two), (zero, two), (two, two), (two, two)]);
}
