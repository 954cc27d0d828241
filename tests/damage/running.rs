//! Bytes that change in the pool while it is being served: nothing panics or hangs, nothing that makes no sense is served, and what is not noticed is only what
//! `docs/durability.md` says is not.

use crate::image::{DATA_AT, NOW_MS, options, starting};
use crossbeam_epoch::pin;
use fencepost::base::Clock;
use fencepost::log::{Kind, ObjectType, Record};
use fencepost::recovery::{Progress, Visitor, scan_pool};
use fencepost::store::{Key, Store, StoreError};
use fencepost_harness::resp::Frame;
use fencepost_harness::server::{Program, Server, Storage};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Where the records of keys are, and how long their headers, keys and values.
struct Records(Vec<(u64, Kind, [usize; 3])>);

impl Visitor<'_> for Records {
    fn record(&mut self, addr: fencepost::base::LogAddr, record: Record<'_>) {
        if matches!(record.kind, Kind::String | Kind::ObjectHead | Kind::Packed) {
            let lengths = [record.header_bytes(), record.key.len(), record.value.len()];
            self.0.push((addr.offset(), record.kind, lengths));
        }
    }
}

fn set(store: &Store, name: &str, value: &[u8]) -> Result<(), StoreError> {
    let mut worker = store.worker();
    let guard = pin();
    let key = Key { db: 0, name: name.as_bytes() };
    let value = store.prepare(&mut worker, value, &guard)?;
    let mut txn = store.write(&mut worker, &[key], NOW_MS, &guard);
    txn.set(key, value, None)?;
    let done = txn.commit();
    store.close_worker(&mut worker);
    done
}

fn get(store: &Store, name: &str) -> Option<Result<Vec<u8>, StoreError>> {
    let guard = pin();
    let entry = store.read(Key { db: 0, name: name.as_bytes() }, NOW_MS, &guard)?;
    Some(entry.string().map(|value| value.bytes().into_owned()))
}

fn delete(store: &Store, name: &str) -> Result<bool, StoreError> {
    let mut worker = store.worker();
    let guard = pin();
    let key = Key { db: 0, name: name.as_bytes() };
    let mut txn = store.write(&mut worker, &[key], NOW_MS, &guard);
    let there = txn.delete(key)?;
    txn.commit()?;
    store.close_worker(&mut worker);
    Ok(there)
}

#[test]
fn every_flipped_bit_of_a_record_in_use_is_an_error_or_what_the_documents_say() {
    let mut options = options();
    options.pool.bytes = DATA_AT + 400 * 4096;
    let store = Store::open(&options, Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    set(&store, "long", &[b'l'; 1500]).expect("room");
    set(&store, "short", b"value").expect("room");
    set(&store, "other", b"another").expect("room");
    let mut records = Records(Vec::new());
    scan_pool(store.pool(), std::slice::from_mut(&mut records), &Progress::default());
    let region = store.pool().region();
    let mut errors = 0;
    for (at, kind, [header, key_len, value_len]) in records.0 {
        let name_at = at + header as u64;
        let name = String::from_utf8(region.read(name_at, key_len as u64).expect("readable").to_vec()).expect("text");
        let right = get(&store, &name).expect("there").expect("whole");
        for bit in 0..8 * (header + key_len + value_len) as u64 {
            let place = at + bit / 8;
            let whole = region.read(place, 1).expect("readable")[0];
            region.copy(place, &[whole ^ 1 << (bit % 8)]);
            let found = get(&store, &name);
            let guard = pin();
            let pair = [&name, "other"].map(|name| Key { db: 0, name: name.as_bytes() });
            let many = store.read_many(&pair, NOW_MS, &guard);
            store.scan(0, 0, NOW_MS, &guard, &mut |entry| drop(entry.string().map(|value| value.len())));
            let _ = store.random(0, NOW_MS, &guard);
            let what = format!("{name}, bit {bit}: {found:?}");
            match bit / 8 {
                // One bit makes a string's kind of an object head's, and the other way round.
                0 if bit == 1 && kind == Kind::ObjectHead => assert!(matches!(found, Some(Ok(_))), "{what}"),
                // A string's kind becomes that of a small collection where the value is one, by accident or not: no string any more.
                0 if matches!(found, Some(Err(StoreError::WrongType))) => {}
                // Kind, and flags but for that of raw strings and that of an expiry: an error.
                0 => assert!(matches!(found, Some(Err(StoreError::DamagedRecord))), "{what}"),
                1 if ![8, 13].contains(&bit) => {
                    assert!(matches!(found, Some(Err(StoreError::DamagedRecord))), "{what}")
                }
                // With an expiry the key begins elsewhere. It, its length and the key itself: another key now, or an error; never a wrong value.
                1 if bit == 13 => assert!(matches!(found, None | Some(Err(_))), "{what}"),
                2..4 => assert!(matches!(found, None | Some(Err(_))), "{what}"),
                byte if (header..header + key_len).contains(&(byte as usize)) => assert!(found.is_none(), "{what}"),
                // Where the value is, or how long: not noticed for plain strings. A head is as far as its parts make no sense.
                4..8 => assert!(kind == Kind::String || matches!(found, Some(Ok(_) | Err(_))), "{what}"),
                _ => assert!(matches!(found, Some(Ok(_) | Err(_)) | None), "{what}"),
            }
            errors += usize::from(matches!(found, Some(Err(_))));
            assert_eq!(many[0].is_some(), found.is_some(), "{what}: of several keys at once");
            region.copy(place, &[whole]);
            let again = get(&store, &name).unwrap_or_else(|| panic!("{what}: put right again, and gone"));
            assert_eq!(again.expect("whole"), right, "{what}: put right again");
        }
    }
    assert!(errors > 100, "{errors}");
    assert_eq!(store.info().damaged_records_seen > 0, errors > 0);
}

/// A hash whose only record changes under it: what is found is some collection, an error, or nothing.
#[test]
fn a_packed_collection_with_any_bit_flipped_is_read_without_a_panic() {
    let store = Store::open(&options(), Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    let mut worker = store.worker();
    let key = Key { db: 0, name: b"hash" };
    let guard = pin();
    let mut txn = store.write(&mut worker, &[key], NOW_MS, &guard);
    let mut hash = txn.edit(key, ObjectType::Hash).expect("absent");
    for field in ["a", "longer", ""] {
        hash.put(field.as_bytes(), &[b'v'; 130]).expect("room");
    }
    hash.finish().expect("staged");
    txn.commit().expect("room");
    let mut records = Records(Vec::new());
    scan_pool(store.pool(), std::slice::from_mut(&mut records), &Progress::default());
    let (at, _, lengths) = records.0[0];
    let region = store.pool().region();
    let mut errors = 0;
    for bit in 0..8 * lengths.iter().sum::<usize>() as u64 {
        let place = at + bit / 8;
        let whole = region.read(place, 1).expect("readable")[0];
        region.copy(place, &[whole ^ 1 << (bit % 8)]);
        match store.collection(key, None, 0, NOW_MS, &guard) {
            Ok(Some(view)) => {
                assert_eq!(view.iter().count(), view.len(), "bit {bit}");
                let _ = (view.get(b"longer"), view.nth(1), view.rank_of_score(0.0, false));
                if view.kind() != ObjectType::List {
                    let lengths: usize = (0..view.len()).map(|place| view.member_at(place).value().len()).sum();
                    assert!(lengths <= 1 << 15, "bit {bit}");
                }
            }
            Ok(None) => {}
            Err(_) => errors += 1,
        }
        region.copy(place, &[whole]);
    }
    assert!(errors > 100, "{errors}");
    let view = store.collection(key, None, 0, NOW_MS, &guard).expect("whole").expect("there");
    assert_eq!(view.iter().count(), 3);
    store.close_worker(&mut worker);
}

#[test]
fn a_damaged_key_can_be_set_anew_and_the_others_are_served() {
    let mut options = options();
    options.pool.bytes = DATA_AT + 40 * 4096;
    let store = Store::open(&options, Clock::manual(NOW_MS), &Progress::default()).expect("a new pool");
    set(&store, "key", b"value").expect("room");
    set(&store, "other", b"another").expect("room");
    let mut records = Records(Vec::new());
    scan_pool(store.pool(), std::slice::from_mut(&mut records), &Progress::default());
    store.pool().region().copy(records.0[0].0, &[0xEE]);
    assert!(matches!(get(&store, "key"), Some(Err(StoreError::DamagedRecord))));
    assert!(matches!(delete(&store, "key"), Err(StoreError::DamagedRecord)), "not answered as if it were absent");
    assert_eq!(get(&store, "other").expect("there").expect("whole"), b"another");
    set(&store, "key", b"new").expect("room");
    assert_eq!(get(&store, "key").expect("there").expect("whole"), b"new");
    assert!(delete(&store, "key").expect("room"));
    store.flush_db(0, None).expect("not full");
    assert!(get(&store, "key").is_none());
    // What is left of the flushed database is taken apart as far as that can be done, and not tried for ever.
    while store.reap(std::time::Duration::from_secs(1)) {
        pin().flush();
    }
}

#[test]
fn a_client_gets_an_error_for_a_damaged_key_and_the_server_goes_on() {
    let program = Program::Fencepost(env!("CARGO_BIN_EXE_fencepost").into());
    let one_at_a_time = starting();
    let server = Server::start(program, &Storage::Memory, &["--pool-size", "8mb"]);
    drop(one_at_a_time);
    let mut client = server.client();
    for name in ["a-key-to-be-damaged", "another"] {
        assert_eq!(client.must(&["SET", name, "value"]), Frame::ok());
    }
    let bytes = std::fs::read(server.pool_path()).expect("readable");
    let name = b"a-key-to-be-damaged";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("it is in the pool");
    let file = File::options().write(true).open(server.pool_path()).expect("opens");
    file.write_all_at(&[0xEE], at as u64 - 20).expect("written");
    for command in ["GET", "TTL", "STRLEN", "MGET", "DEL", "INCR", "PERSIST"] {
        let reply = client.must(&[command, "a-key-to-be-damaged"]);
        let text = format!("{reply:?}");
        assert!(reply.is_error() && text.contains("damaged"), "{command}: {text}");
    }
    assert_eq!(client.must(&["GET", "another"]), Frame::bulk("value"));
    let info = client.must(&["INFO", "persistence"]);
    let info = String::from_utf8_lossy(info.bytes().expect("a text"));
    let seen = info.split("pool_damaged_records_seen:").nth(1).and_then(|rest| rest.lines().next());
    assert!(seen.is_some_and(|seen| seen.parse::<u64>().is_ok_and(|seen| seen >= 7)), "{info}");
    assert_eq!(client.must(&["SET", "a-key-to-be-damaged", "new"]), Frame::ok());
    assert_eq!(client.must(&["GET", "a-key-to-be-damaged"]), Frame::bulk("new"));
    assert!(server.log().contains("of the pool is damaged"), "{}", server.log());
}
