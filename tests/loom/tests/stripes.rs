//! The counters and the mark of the stripes, as the store's readers use them. A word beside them stands for a key's word in the index: it is stored
//! with Release and loaded with Acquire, as those are. The writer is the first thread, for the reason given in `index.rs`.

use fencepost_loom::stripes::Stripes;
use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use loom::sync::atomic::{AtomicU64, fence};
use loom::thread::{JoinHandle, spawn};

/// Two keys on two stripes.
struct Two {
    stripes: Stripes,
    words: [AtomicU64; 2],
}

impl Two {
    fn new() -> Arc<Self> {
        Arc::new(Self { stripes: Stripes::new(2), words: Default::default() })
    }

    /// As a transaction of one key publishes.
    fn write_one(&self, key: usize) {
        let stripe = self.stripes.at(key as u32);
        let _held = stripe.lock();
        stripe.publishing_one(|| self.words[key].store(1, Release));
    }

    /// As a transaction of several keys publishes.
    fn write_both(&self) {
        let _held = [self.stripes.at(0).lock(), self.stripes.at(1).lock()];
        self.stripes.publishing_many([0, 1].into_iter(), || self.words.iter().for_each(|word| word.store(1, Release)));
    }

    fn load(&self, key: usize) -> u64 {
        self.words[key].load(Acquire)
    }

    /// A load that stands for one of x86-64, where all see the stores of others in one order. The language alone lets two readers see the stores of
    /// two writers in different orders.
    fn load_in_order(&self, key: usize) -> u64 {
        fence(SeqCst);
        self.load(key)
    }

    /// As `Store::read`.
    fn read(&self, key: usize) -> u64 {
        self.stripes.before_reading(key as u32);
        self.load(key)
    }

    /// As `Store::read_many`.
    fn read_both(&self) -> Option<[u64; 2]> {
        self.stripes.at_one_moment(&[0, 1], &mut Vec::new(), || [self.load(0), self.load(1)])
    }
}

fn with<R: 'static>(two: &Arc<Two>, work: impl FnOnce(&Arc<Two>) -> R + 'static) -> JoinHandle<R> {
    let two = Arc::clone(two);
    spawn(move || work(&two))
}

fn check(bound: Option<usize>, test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = bound;
    model.check(test);
}

#[test]
fn half_of_a_write_of_two_keys_is_not_seen_by_reads_one_after_the_other() {
    for [first, second] in [[0, 1], [1, 0]] {
        check(None, move || {
            let two = Two::new();
            let reader = with(&two, move |two| (two.read(first), two.read(second)));
            two.write_both();
            assert_ne!(reader.join().unwrap(), (1, 0), "half a write");
        });
    }
}

#[test]
fn half_of_a_write_of_two_keys_is_not_seen_by_reads_of_two_threads() {
    check(Some(2), || {
        let two = Two::new();
        let reader = with(&two, |two| {
            // What one thread was told the other one knows.
            let first = with(two, |two| two.read(1)).join().unwrap();
            (first, two.read(0))
        });
        two.write_both();
        assert_ne!(reader.join().unwrap(), (1, 0), "half a write");
    });
}

#[test]
fn half_of_a_write_of_two_keys_is_not_seen_by_overlapped_reads() {
    check(None, || {
        let two = Two::new();
        let reader = with(&two, |two| {
            let overlapped = two.stripes.undisturbed(|| [two.load(0), two.load(1)]);
            [overlapped, two.read_both()]
        });
        two.write_both();
        let seen = reader.join().unwrap();
        assert!(seen.iter().flatten().all(|[a, b]| a == b), "half a write");
    });
}

#[test]
fn two_keys_are_read_as_of_one_moment() {
    check(Some(2), || {
        let two = Two::new();
        let both = with(&two, |two| {
            two.stripes.at_one_moment(&[0, 1], &mut Vec::new(), || [0, 1].map(|key| two.load_in_order(key)))
        });
        let one_by_one = with(&two, |two| (two.load_in_order(0), two.load_in_order(1)));
        let other_writer = with(&two, |two| two.write_one(1));
        two.write_one(0);
        other_writer.join().unwrap();
        // Whoever sees the first key written and then the second one not has seen the first one written first.
        let (both, one_by_one) = (both.join().unwrap(), one_by_one.join().unwrap());
        assert!(!(one_by_one == (1, 0) && both == Some([0, 1])), "the second key was seen first");
    });
}

#[test]
fn what_was_written_is_seen_when_the_writer_has_let_go() {
    check(None, || {
        let two = Two::new();
        let reader =
            with(&two, |two| (0..2).any(|_| two.stripes.at(0).sequence() == 2).then(|| (two.load(0), two.read_both())));
        two.write_one(0);
        assert!(reader.join().unwrap().is_none_or(|seen| seen == (1, Some([1, 0]))));
    });
}
