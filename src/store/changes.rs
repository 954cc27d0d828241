//! Who is told that a key has changed: WATCH, CLIENT TRACKING, clients blocked on a key, keyspace events of keys that expire.
//!
//! A watcher is told after the change is durable and visible, while the key's stripe is still held: whoever takes the stripe afterwards finds that
//! it has been told. It must not wait for anything then, nor write to the store. While nobody watches anything a write pays one load.

use super::Db;
use crate::base::sync::atomic::{AtomicU32, Ordering};
use crate::base::sync::{Mutex, PoisonError, RwLock};
use std::collections::HashMap;
use std::sync::Arc;

/// What has happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A command has written or removed it.
    Written,
    /// It was removed because its time had come.
    Expired,
    /// Fields of the hash at it were removed because their time had come.
    FieldsExpired,
    /// It was removed with the last fields of its hash, as their time had come.
    Ended,
    /// Its database was emptied, or swapped with another, and the key was there before or is there now.
    Database,
    /// Its database was swapped with another, where there is one that has expired and was not removed yet; there was none before. For who looks it up
    /// nothing has changed.
    CameExpired,
}

impl Change {
    /// Whether it has come with time, by nobody's command.
    pub fn is_expiry(self) -> bool {
        matches!(self, Change::Expired | Change::FieldsExpired | Change::Ended)
    }
}

/// Somebody who wants to know of changes.
pub trait Watcher: Send + Sync {
    /// `name` in `db` has changed. Returns whether this watcher wants to hear of it again. One who watches everything is told of whole databases, too,
    /// once for each FLUSHDB, FLUSHALL or SWAPDB, with an empty name.
    fn changed(&self, db: Db, name: &[u8], change: Change) -> bool;

    /// As [`Watcher::changed`], for one who asks whose worker has written: [`Worker::client`](super::Worker::client), 0 for nobody's.
    fn changed_by(&self, db: Db, name: &[u8], change: Change, _client: u64) -> bool {
        self.changed(db, name, change)
    }
}

type Watchers = Vec<Arc<dyn Watcher>>;

/// Watchers of all keys. Told without keeping each other out.
#[derive(Default)]
struct Everyone {
    count: AtomicU32,
    watchers: RwLock<Watchers>,
}

impl Everyone {
    fn update(&self, change: impl FnOnce(&mut Watchers)) {
        let mut watchers = self.watchers.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut watchers);
        // Release: as in `Changes::with`.
        self.count.store(watchers.len() as u32, Ordering::Release);
    }

    fn add(&self, watcher: Arc<dyn Watcher>) {
        self.update(|watchers| watchers.push(watcher));
    }

    fn remove(&self, watcher: &Arc<dyn Watcher>) {
        self.update(|watchers| watchers.retain(|other| !Arc::ptr_eq(other, watcher)));
    }

    /// Says whether anybody wants to hear no more, and was let go.
    fn tell(&self, told: impl Fn(&Arc<dyn Watcher>) -> bool) -> bool {
        let watchers = self.watchers.read().unwrap_or_else(PoisonError::into_inner);
        let done: Watchers = watchers.iter().filter(|watcher| !told(watcher)).cloned().collect();
        drop(watchers);
        done.iter().for_each(|watcher| self.remove(watcher));
        !done.is_empty()
    }

    #[inline]
    fn is_there(&self) -> bool {
        // Acquire: pairs with the store in `update`.
        self.count.load(Ordering::Acquire) != 0
    }
}

type Registry = HashMap<Db, HashMap<Vec<u8>, Watchers>>;

/// Who watches which keys.
#[derive(Default)]
pub struct Changes {
    /// Keys watched, and one more for each watcher of all keys: what writers look at.
    watched: AtomicU32,
    keys: AtomicU32,
    by_key: Mutex<Registry>,
    of_all: Everyone,
    of_expiry: Everyone,
}

impl Changes {
    fn with<R>(&self, act: impl FnOnce(&mut Registry) -> R) -> R {
        let mut registry = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut registry);
        let keys = registry.values().map(HashMap::len).sum::<usize>() as u32;
        // Release: pairs with the loads in `is_watched` and `tell_watchers`. A writer that began before may miss it, and who watches must look at the key
        // itself afterwards.
        self.keys.store(keys, Ordering::Release);
        self.watched.store(keys + self.of_all.count.load(Ordering::Relaxed), Ordering::Release);
        result
    }

    /// Begins to tell `watcher` of changes of this key. One that must not miss any looks at the key after this, with its stripe held.
    pub fn watch(&self, db: Db, name: &[u8], watcher: Arc<dyn Watcher>) {
        self.with(|registry| registry.entry(db).or_default().entry(name.to_vec()).or_default().push(watcher));
    }

    /// Begins to tell `watcher` of all changes.
    pub fn watch_all(&self, watcher: Arc<dyn Watcher>) {
        self.with(|_| self.of_all.add(watcher));
    }

    /// Stops telling `watcher` of this key.
    pub fn unwatch(&self, db: Db, name: &[u8], watcher: &Arc<dyn Watcher>) {
        self.with(|registry| retain(registry, db, name, |other| !Arc::ptr_eq(other, watcher)));
    }

    /// Stops telling `watcher` of all changes.
    pub fn unwatch_all(&self, watcher: &Arc<dyn Watcher>) {
        self.with(|_| self.of_all.remove(watcher));
    }

    /// Begins to tell `watcher` of keys and fields that expire, and of nothing else: writes pay nothing for it. Once, however often it is called.
    pub fn watch_expiry(&self, watcher: &Arc<dyn Watcher>) {
        self.of_expiry.update(|watchers| {
            watchers.retain(|other| !Arc::ptr_eq(other, watcher));
            watchers.push(Arc::clone(watcher));
        });
    }

    /// Stops telling `watcher` of keys and fields that expire.
    pub fn unwatch_expiry(&self, watcher: &Arc<dyn Watcher>) {
        self.of_expiry.remove(watcher);
    }

    /// Whether anybody watches anything but expiry.
    #[inline]
    pub fn is_watched(&self) -> bool {
        // Acquire: pairs with the store in `with`.
        self.watched.load(Ordering::Acquire) != 0
    }

    /// A key has changed, by the worker of `client`. Its stripe is held.
    #[inline]
    pub(super) fn tell(&self, db: Db, name: &[u8], change: Change, client: u64) {
        if self.is_watched() {
            self.tell_watchers(db, name, change, client);
        }
        if change.is_expiry() && self.of_expiry.is_there() {
            self.of_expiry.tell(|watcher| watcher.changed(db, name, change));
        }
    }

    #[cold]
    fn tell_watchers(&self, db: Db, name: &[u8], change: Change, client: u64) {
        if self.keys.load(Ordering::Acquire) != 0 {
            self.with(|registry| retain(registry, db, name, |watcher| watcher.changed_by(db, name, change, client)));
        }
        if self.of_all.is_there() {
            self.tell_all(|watcher| watcher.changed_by(db, name, change, client));
        }
    }

    fn tell_all(&self, told: impl Fn(&Arc<dyn Watcher>) -> bool) {
        if self.of_all.tell(told) {
            // Somebody wants to hear no more.
            self.with(|_| ());
        }
    }

    /// Those watched keys of `db` have changed of which `change_of` says how. All stripes are held.
    pub(super) fn tell_database(&self, db: Db, change_of: impl Fn(&[u8]) -> Option<Change>) {
        if !self.is_watched() {
            return;
        }
        self.with(|registry| {
            let Some(keys) = registry.get_mut(&db) else { return };
            keys.retain(|name, watchers| {
                let Some(change) = change_of(name) else { return true };
                watchers.retain(|watcher| watcher.changed(db, name, change));
                !watchers.is_empty()
            });
        });
    }

    /// Databases, `db` among them, were emptied or swapped, or would have been were they not empty: whoever watches everything is told once. All
    /// stripes are held.
    pub(super) fn tell_of_databases(&self, db: Db) {
        if self.of_all.is_there() {
            self.tell_all(|watcher| watcher.changed(db, &[], Change::Database));
        }
    }
}

fn retain(registry: &mut Registry, db: Db, name: &[u8], keep: impl FnMut(&Arc<dyn Watcher>) -> bool) {
    let Some(keys) = registry.get_mut(&db) else { return };
    let Some(watchers) = keys.get_mut(name) else { return };
    watchers.retain(keep);
    if watchers.is_empty() {
        keys.remove(name);
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Changes({} watched)", self.watched.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;
    use crate::store::{Key, Store};

    #[derive(Default)]
    struct Told(Mutex<Vec<(Db, Vec<u8>, Change)>>);

    impl Watcher for Told {
        fn changed(&self, db: Db, name: &[u8], change: Change) -> bool {
            self.0.lock().expect("not poisoned").push((db, name.to_vec(), change));
            name != b"once"
        }
    }

    #[test]
    fn a_watcher_is_told_of_writes_expiry_and_whole_databases() {
        let clock = Clock::manual(1000);
        let store = Store::in_memory(16 << 20, clock.clone()).expect("memory");
        let (told, everything) = (Arc::new(Told::default()), Arc::new(Told::default()));
        let (watcher, all): (Arc<dyn Watcher>, Arc<dyn Watcher>) = (told.clone(), everything.clone());
        for name in [&b"a"[..], b"once", b"dies", b"left"] {
            store.changes().watch(0, name, Arc::clone(&watcher));
        }
        store.changes().watch_all(Arc::clone(&all));
        let mut worker = store.worker();
        let mut set = |name: &[u8], expire_at| {
            let guard = crossbeam_epoch::pin();
            let key = Key { db: 0, name };
            let mut txn = store.write(&mut worker, &[key], 1000, &guard);
            txn.set_inline(key, b"value", expire_at).expect("staged");
            txn.commit().expect("room");
        };
        for name in [&b"a"[..], b"b", b"once", b"once"] {
            set(name, None);
        }
        set(b"dies", Some(1500));
        store.changes().unwatch(0, b"left", &watcher);
        set(b"left", None);
        assert_eq!(store.expire_cycle(2000, std::time::Duration::from_secs(1)), 1);
        store.flush_db(0, None).expect("flushed");
        let names = |told: &Told| {
            let told = told.0.lock().expect("not poisoned");
            told.iter()
                .map(|(_, name, change)| (String::from_utf8_lossy(name).into_owned(), *change))
                .collect::<Vec<_>>()
        };
        let expected =
            [("a", Change::Written), ("once", Change::Written), ("dies", Change::Written), ("dies", Change::Expired)];
        let mut found = names(&told);
        let flushed = found.split_off(4);
        assert_eq!(found, expected.map(|(name, change)| (name.to_owned(), change)));
        // The other key was not there.
        assert_eq!(flushed, [("a".to_owned(), Change::Database)]);
        // It wanted to hear no more after the third.
        assert_eq!(names(&everything).len(), 3);
        store.changes().unwatch_all(&all);
        store.changes().unwatch(0, b"a", &watcher);
        store.changes().unwatch(0, b"dies", &watcher);
        assert!(!store.changes().is_watched());
        store.close_worker(&mut worker);
    }
}
