//! Reclamation by epochs, crossbeam's own code under loom: a value that a reader has loaded stays until the reader lets go.
#![cfg(crossbeam_loom)]

use crossbeam_epoch as epoch;
use fencepost_loom::base::EpochCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread::spawn;

/// Says when it is dropped.
struct Value(Arc<AtomicBool>);

impl Drop for Value {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_value_that_is_replaced_stays_until_its_readers_let_go() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(1);
    model.check(|| {
        let dropped = Arc::new(AtomicBool::new(false));
        let cell = Arc::new(EpochCell::new(Value(Arc::clone(&dropped))));
        let reader = spawn({
            let (cell, dropped) = (Arc::clone(&cell), Arc::clone(&dropped));
            move || {
                let guard = epoch::pin();
                let value = cell.load(&guard);
                let first = Arc::ptr_eq(&value.0, &dropped);
                assert!(!(first && value.0.load(Relaxed)), "dropped under its reader");
            }
        });
        cell.replace(Value(Arc::new(AtomicBool::new(false))), &epoch::pin());
        // Each round may move the epoch on by one; after three nothing but a pinned reader keeps the value.
        for _ in 0..3 {
            epoch::pin().flush();
        }
        reader.join().unwrap();
    });
}
