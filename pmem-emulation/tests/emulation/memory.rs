//! A region as simple as can be, which reports to a hook as a real one does.

use std::panic::Location;
use std::sync::{Arc, Mutex};

use pmem_emulation::{Call, Hook, Mapping, MediaError, Note};

pub struct Memory {
    bytes: Mutex<Vec<u8>>,
    hook: Arc<dyn Hook>,
}

struct Snapshot(Vec<u8>);

impl Mapping for Snapshot {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Memory {
    pub fn new(len: usize, hook: Arc<dyn Hook>) -> Self {
        hook.attach(&Snapshot(vec![0; len]));
        Self { bytes: Mutex::new(vec![0; len]), hook }
    }

    #[track_caller]
    fn report<R>(&self, with: impl FnOnce(&dyn Hook, Call<'_>) -> R) -> R {
        // Fences are the only ones that look at the mapping, and they change nothing.
        let snapshot = Snapshot(self.bytes());
        with(&*self.hook, Call { site: Location::caller(), mapping: &snapshot })
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// A write that the hook does not see.
    pub fn poke(&self, at: u64, bytes: &[u8]) {
        self.bytes.lock().unwrap()[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    #[track_caller]
    pub fn grow(&self, len: u64) {
        self.report(|hook, call| {
            let mut apply = || {
                self.bytes.lock().unwrap().resize(len as usize, 0);
                Ok(())
            };
            hook.grow(len, call, &mut apply)
        })
        .unwrap();
    }

    #[track_caller]
    pub fn store(&self, at: u64, value: u64) {
        let bytes = value.to_le_bytes();
        self.report(|hook, call| hook.store(at, bytes, call, &mut || self.poke(at, &bytes)));
    }

    #[track_caller]
    pub fn copy(&self, at: u64, bytes: &[u8]) {
        self.report(|hook, call| hook.copy(at, bytes, call, &mut || self.poke(at, bytes)));
    }

    #[track_caller]
    pub fn copy_nt(&self, at: u64, bytes: &[u8]) {
        self.report(|hook, call| hook.copy_nt(at, bytes, call, &mut || self.poke(at, bytes)));
    }

    #[track_caller]
    pub fn flush(&self, at: u64, len: u64) {
        self.report(|hook, call| hook.flush(at, len, call, &mut || ()));
    }

    #[track_caller]
    pub fn fence(&self) {
        self.report(|hook, call| hook.fence(call, &mut || ()));
    }

    #[track_caller]
    pub fn sync(&self) {
        self.report(|hook, call| hook.sync(call, &mut || Ok(()))).unwrap();
    }

    #[track_caller]
    pub fn read(&self, at: u64, len: u64) -> Result<(), MediaError> {
        self.report(|hook, call| hook.read(at, len, call))
    }

    #[track_caller]
    pub fn note(&self, note: Note) {
        self.report(|hook, call| hook.note(note, call));
    }
}
