//! The file that a pool lies in, where that is on a disk: what a power cut can leave of a new one's name and bytes.
//!
//! The model is that of a journalling file system at its least: what is written to a file is there for sure behind an fsync of the file, what is done
//! to a name behind an fsync of the directory; before, each may be there or not, whatever the order.

use fencepost::persist::RegionOptions;
use fencepost::pool::{Pool, PoolOptions};
use pmem_emulation::{Call, Hook};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// What is sure and what is not.
#[derive(Default)]
struct Disk {
    /// Whether bytes were written since the file was synced.
    dirty: bool,
    /// Whether the pool has its name.
    named: bool,
    /// Whether it keeps it.
    name_is_sure: bool,
    found: Vec<String>,
}

#[derive(Default)]
struct Watch(Mutex<Disk>);

impl Watch {
    fn with(&self, note: impl FnOnce(&mut Disk)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Hook for Watch {
    fn store(&self, _at: u64, _bytes: [u8; 8], _call: Call<'_>, apply: &mut dyn FnMut()) {
        self.with(|disk| disk.dirty = true);
        apply();
    }

    fn copy(&self, _at: u64, _bytes: &[u8], _call: Call<'_>, apply: &mut dyn FnMut()) {
        self.with(|disk| disk.dirty = true);
        apply();
    }

    fn copy_nt(&self, _at: u64, _bytes: &[u8], _call: Call<'_>, apply: &mut dyn FnMut()) {
        self.with(|disk| disk.dirty = true);
        apply();
    }

    fn sync(&self, _call: Call<'_>, apply: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.with(|disk| disk.dirty = false);
        apply()
    }

    fn system_call(&self, name: &'static str) -> io::Result<()> {
        self.with(|disk| match name {
            "fallocate" => disk.dirty = true,
            "fsync" => disk.dirty = false,
            "rename" => {
                if disk.dirty {
                    disk.found.push("a power cut can leave a pool under its name without its bytes".to_owned());
                }
                disk.named = true;
            }
            "fsync directory" => disk.name_is_sure = disk.named,
            _ => {}
        });
        Ok(())
    }
}

/// Makes a pool in a directory of its own: at no time is there one under its name that is not whole, and when it is made it is there for sure.
///
/// # Errors
/// What a power cut could leave.
pub fn a_new_pool_is_there_or_not() -> Result<(), String> {
    let own = format!("crash-explorer-{}-{:?}", std::process::id(), std::thread::current().id());
    let directory = std::env::temp_dir().join(own);
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let watch = Arc::new(Watch::default());
    let options = PoolOptions {
        path: Some(directory.join("pool")),
        bytes: 1 << 20,
        max_bytes: 0,
        segment_bytes: Some(4096),
        stripes: 4,
        now_ms: 0,
        region: RegionOptions { hook: Some(Arc::clone(&watch) as Arc<dyn Hook>), ..RegionOptions::default() },
    };
    let made = Pool::open_or_create(&options).map(drop);
    // What is left there is in nobody's way.
    let _ = std::fs::remove_dir_all(&directory);
    made.map_err(|error| error.to_string())?;
    let disk = watch.0.lock().unwrap_or_else(PoisonError::into_inner);
    match disk.found.first() {
        Some(found) => Err(found.clone()),
        None if !disk.name_is_sure => Err("a power cut can take the name of a pool that was opened".to_owned()),
        None => Ok(()),
    }
}
