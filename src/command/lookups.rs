//! Counting what has come of looking keys up: hits and misses of `INFO stats`, and the event `keymiss`.
//!
//! Looks that are a command's reading count, as in Redis; those that only serve a change do not.

use super::{Ctx, Events, Session, Shared, WorkerStats};
use crate::log::ObjectType;
use crate::store::{Entry, Key, StoreError, Txn, View};

/// Where looks are counted: the fields of [`Ctx`] that this takes, so that it can be done beside a transaction, which has borrowed another.
///
/// A command that finds no room in the pool and is run again counts its hits and misses each time, but raises `keymiss` once.
#[derive(Clone, Copy)]
pub struct Lookups<'c> {
    shared: &'c Shared,
    stats: &'c WorkerStats,
    session: &'c Session,
}

impl<'c> Lookups<'c> {
    /// For a command that has these in its [`Ctx`].
    #[inline]
    pub fn new(shared: &'c Shared, stats: &'c WorkerStats, session: &'c Session) -> Self {
        Self { shared, stats, session }
    }

    /// Counts a look at `key`.
    #[inline]
    pub fn saw(&self, key: Key<'_>, is_there: bool) {
        if is_there {
            self.stats.keyspace_hits.add(1);
        } else {
            self.stats.keyspace_misses.add(1);
            let asked = self.shared.settings.events();
            if asked.contains(Events::KEY_MISS) {
                self.session.pending.raise(asked, "keymiss", key);
            }
        }
    }

    /// [`Txn::get`], counted.
    pub fn get<'a>(&self, txn: &Txn<'a>, key: Key<'_>) -> Option<Entry<'a>> {
        let entry = txn.get(key);
        self.saw(key, entry.is_some());
        entry
    }

    /// [`Txn::view`], counted. A key that holds another type is there.
    ///
    /// # Errors
    /// Those of [`Txn::view`].
    pub fn view<'a>(&self, txn: &Txn<'a>, key: Key<'_>, kind: ObjectType) -> Result<Option<View<'a>>, StoreError> {
        let view = txn.view(key, kind);
        self.saw(key, !matches!(view, Ok(None)));
        view
    }
}

impl Ctx<'_> {
    /// Where this command's looks are counted.
    #[inline]
    pub fn lookups(&self) -> Lookups<'_> {
        Lookups::new(self.shared, self.stats, self.session)
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::TestClient;

    /// As redis-server 7.0.15 counts.
    #[test]
    fn reads_inside_of_transactions_count() {
        let mut client = TestClient::new();
        for line in ["SADD s 1 2 3", "SADD t 2 3 4", "ZADD z 1 a", "SET w_1 5", "PFADD h a", "HSET h_2 f x"] {
            client.run(line);
        }
        for (line, hits, misses) in [
            ("SINTER s none t gone", 2, 2),
            ("SINTER none z", 1, 1),
            ("SUNION s none", 1, 1),
            ("SDIFF s t", 2, 0),
            ("SINTERCARD 2 s none", 1, 1),
            ("SINTERSTORE d s none", 1, 1),
            ("SADD s 1", 0, 0),
            ("SMOVE none s a", 0, 0),
            ("ZUNION 2 z none", 1, 1),
            ("ZINTERCARD 2 none z", 1, 1),
            ("ZDIFFSTORE d 2 z none", 1, 1),
            ("ZRANGESTORE d z 0 1", 1, 0),
            ("ZRANGESTORE d none 0 1", 0, 1),
            ("ZPOPMIN none", 0, 0),
            ("GEOSEARCHSTORE d none FROMLONLAT 15 37 BYRADIUS 1 m", 0, 1),
            ("SORT s STORE d", 1, 0),
            ("SORT none", 0, 1),
            ("SORT w_1", 1, 0),
            ("SORT s BY w_* GET h_*->f GET #", 3, 4),
            ("PFMERGE m h none", 1, 2),
            ("PFMERGE m", 1, 0),
            ("PFCOUNT m none", 1, 1),
            ("BITOP AND d w_1 none", 1, 1),
            ("COPY none d", 0, 1),
            ("COPY w_1 d REPLACE", 1, 0),
            ("MGET w_1 none s", 2, 1),
            ("SET w_1 5", 0, 0),
            ("SET w_1 5 GET", 1, 0),
            ("SET none 5 XX GET", 0, 1),
            ("GETEX none PERSIST", 0, 1),
            ("GETEX w_1 PERSIST", 1, 0),
            ("GETDEL w_1", 1, 0),
            ("GETDEL w_1", 0, 1),
            ("HGET s f", 1, 0),
        ] {
            let counted = |client: &TestClient| {
                let stats = client.direct.shared.stats.worker(0);
                (stats.keyspace_hits.get(), stats.keyspace_misses.get())
            };
            let before = counted(&client);
            client.run(line);
            let after = counted(&client);
            assert_eq!((after.0 - before.0, after.1 - before.1), (hits, misses), "{line}");
        }
    }
}
