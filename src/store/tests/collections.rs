//! Collections beside plain models, through commits, restarts, reloads and cleaning.

use super::*;
use crate::cleaner::{CleanStep, Demand};
use crate::log::{ObjectType, PACKED_MOST};
use crate::store::collections::Extent;
use std::collections::{BTreeMap, VecDeque};

/// A small generator that can be started anew with the same numbers.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most);
        pattern(len, self.below(256) as u8)
    }
}

#[derive(Clone, PartialEq, Debug)]
enum Model {
    Map(ObjectType, BTreeMap<Vec<u8>, Vec<u8>>),
    List(VecDeque<Vec<u8>>),
}

fn scores(map: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<(Vec<u8>, f64)> {
    let score = |value: &Vec<u8>| f64::from_le_bytes(value[..].try_into().expect("a score"));
    let mut all: Vec<_> = map.iter().map(|(name, value)| (name.clone(), score(value))).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    all
}

/// What the store has under `name`.
fn found(store: &Store, name: &[u8]) -> Option<Model> {
    let guard = pin();
    let view = store.collection(key(name), None, 1, store.clock().now_ms(), &guard).expect("a collection")?;
    assert_eq!(view.iter().count(), view.len());
    Some(match view.kind() {
        ObjectType::List => Model::List(view.iter().map(|element| element.value().to_vec()).collect()),
        kind => {
            let map: BTreeMap<_, _> =
                view.iter().map(|element| (element.name().to_vec(), element.value().to_vec())).collect();
            assert_eq!(map.len(), view.len());
            for name in map.keys() {
                assert_eq!(view.get(name).expect("there").name(), name);
            }
            if kind == ObjectType::SortedSet {
                let ordered: Vec<_> =
                    view.iter_from(0).map(|element| (element.name().to_vec(), element.score())).collect();
                assert_eq!(ordered, scores(&map));
                for (rank, (name, _)) in ordered.iter().enumerate() {
                    assert_eq!(view.rank(name), Some(rank));
                }
            }
            Model::Map(kind, map)
        }
    })
}

fn change_map(txn: &mut Txn<'_>, name: &[u8], kind: ObjectType, model: &mut Option<Model>, random: &mut Random) {
    let mut edit = txn.edit(key(name), kind).expect("of this type");
    let Model::Map(_, map) = model.get_or_insert_with(|| Model::Map(kind, BTreeMap::new())) else { panic!("a map") };
    for _ in 0..1 + random.below(30) {
        let member = format!("m{}", random.below(60)).into_bytes();
        let there = map.contains_key(&member);
        assert_eq!(edit.get(&member).map(|element| element.value().to_vec()), map.get(&member).cloned());
        if random.below(5) < 3 {
            let value = match kind {
                ObjectType::Hash => random.bytes(40),
                ObjectType::Set => Vec::new(),
                _ => (random.below(20) as f64 / 2.0).to_le_bytes().to_vec(),
            };
            assert_eq!(edit.put(&member, &value).expect("room"), !there);
            map.insert(member, value);
        } else {
            assert_eq!(edit.remove(&member), there);
            map.remove(&member);
        }
        assert_eq!(edit.len(), map.len());
    }
    let empty = map.is_empty();
    edit.finish().expect("staged");
    if empty {
        *model = None;
    }
}

fn change_list(txn: &mut Txn<'_>, name: &[u8], model: &mut Option<Model>, random: &mut Random) {
    let mut edit = txn.list(key(name)).expect("a list");
    let Model::List(list) = model.get_or_insert_with(|| Model::List(VecDeque::new())) else { panic!("a list") };
    let end = [End::Left, End::Right][random.below(2)];
    match random.below(9) {
        0..3 => {
            for _ in 0..1 + random.below(8) {
                let value = random.bytes(50);
                edit.push(end, &value).expect("room");
                if end == End::Left { list.push_front(value) } else { list.push_back(value) }
            }
        }
        3 => {
            for _ in 0..1 + random.below(6) {
                let popped = edit.pop(end).map(|element| element.value().to_vec());
                assert_eq!(popped, if end == End::Left { list.pop_front() } else { list.pop_back() });
            }
        }
        4 if !list.is_empty() => {
            let (at, value) = (random.below(list.len()), random.bytes(50));
            edit.set(at, &value).expect("room");
            list[at] = value;
        }
        5 | 6 => {
            // Often at one place, so that labels run out.
            let at = if random.below(3) > 0 { list.len() / 2 } else { random.below(list.len() + 1) };
            let value = random.bytes(50);
            edit.insert(at, &value).expect("room");
            list.insert(at, value);
        }
        7 if !list.is_empty() => {
            let at = random.below(list.len());
            edit.remove(at);
            list.remove(at);
        }
        8 if list.len() > 20 => {
            edit.trim(4, list.len() - 5);
            list.truncate(list.len() - 5);
            list.drain(..4);
        }
        8 if list.len() > 1 => {
            let value = edit.pop(End::Right).expect("there").value().to_vec();
            edit.push(End::Left, &value).expect("room");
            list.rotate_right(1);
        }
        _ => {}
    }
    assert_eq!(edit.len(), list.len());
    let empty = list.is_empty();
    edit.finish().expect("staged");
    if empty {
        *model = None;
    }
}

/// Removes a range of a sorted set.
fn cut_map(txn: &mut Txn<'_>, name: &[u8], model: &mut Option<Model>, random: &mut Random) {
    let Some(Model::Map(kind @ ObjectType::SortedSet, map)) = model else { return };
    let ordered = scores(map);
    let start = random.below(ordered.len());
    let end = (start + random.below(ordered.len() / 2 + 2)).min(ordered.len());
    let view = txn.view(key(name), *kind).expect("of this type").expect("there");
    txn.remove_ranks(key(name), view, start..end).expect("room");
    map.retain(|name, _| !ordered[start..end].iter().any(|(removed, _)| removed == name));
    if map.is_empty() {
        *model = None;
    }
}

/// Random changes of all types, with everything else that may happen in between.
fn run(seed: u64, steps: usize) {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let mut random = Random(seed);
    let mut options = options(&path);
    (options.pool.bytes, options.pool.segment_bytes) = (2 << 20, Some(32 << 10));
    let open = || Store::open(&options, Clock::manual(NOW), &Progress::default()).expect("opens");
    let mut store = open();
    let mut worker = store.worker();
    let mut models: BTreeMap<Vec<u8>, Model> = BTreeMap::new();
    let types = [ObjectType::Hash, ObjectType::Set, ObjectType::SortedSet, ObjectType::List];
    for step in 0..steps {
        if random.below(20) == 0 {
            store.set_packed_bytes([0, 60, 300, PACKED_BYTES_MOST][random.below(4)]);
        }
        let number = random.below(12);
        let name = format!("key{number}").into_bytes();
        let other = format!("key{}", random.below(12)).into_bytes();
        let mut model = models.remove(&name);
        let kind = match &model {
            Some(Model::Map(kind, _)) => *kind,
            Some(Model::List(_)) => ObjectType::List,
            None => types[number % 4],
        };
        match random.below(60) {
            0 => {
                in_txn(&store, &mut worker, &[&name], |txn| txn.delete(key(&name)).expect("ok"));
                model = None;
            }
            1 if name != other => {
                in_txn(&store, &mut worker, &[&name, &other], |txn| txn.rename(key(&name), key(&other)).expect("ok"));
                if let Some(moved) = model.take() {
                    models.insert(other, moved);
                }
            }
            2 if name != other => {
                in_txn(&store, &mut worker, &[&name, &other], |txn| {
                    txn.copy(key(&name), key(&other), None).expect("ok");
                });
                if let Some(copied) = &model {
                    models.insert(other, copied.clone());
                }
            }
            3 => {
                drop((worker, store));
                store = open();
                worker = store.worker();
            }
            4 => store.reload().expect("sound"),
            // Abandoned.
            5 => {
                let guard = pin();
                let mut txn = store.write(&mut worker, &[key(&name)], NOW, &guard);
                let mut ignored = model.clone();
                match kind {
                    ObjectType::List => change_list(&mut txn, &name, &mut ignored, &mut random),
                    _ => change_map(&mut txn, &name, kind, &mut ignored, &mut random),
                }
            }
            6..12 => while store.clean_step(Demand::Now) == CleanStep::Worked {},
            _ => {
                // Ends: there is room for what is live twice over.
                loop {
                    let (before, model_before) = (random.0, model.clone());
                    let guard = pin();
                    let mut txn = store.write(&mut worker, &[key(&name)], NOW, &guard);
                    match kind {
                        ObjectType::List => change_list(&mut txn, &name, &mut model, &mut random),
                        ObjectType::SortedSet if random.below(3) == 0 => {
                            cut_map(&mut txn, &name, &mut model, &mut random);
                        }
                        _ => change_map(&mut txn, &name, kind, &mut model, &mut random),
                    }
                    match txn.commit() {
                        Ok(()) => break,
                        Err(StoreError::OutOfSpace) => {
                            (random.0, model) = (before, model_before);
                            drop(guard);
                            assert!(store.make_room(false), "seed {seed}, step {step}: no room to be made");
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
        assert_eq!(found(&store, &name), model, "seed {seed}, step {step}, {}", String::from_utf8_lossy(&name));
        if let Some(model) = model {
            models.insert(name, model);
        }
        if step % 50 == 0 {
            for (name, model) in &models {
                assert_eq!(found(&store, name).as_ref(), Some(model), "seed {seed}, step {step}");
            }
        }
    }
    while store.clean_step(Demand::Now) != CleanStep::Idle {
        std::thread::yield_now();
    }
    assert_eq!(store.check_books(), Ok(()), "seed {seed}");
}

#[test]
fn collections_are_as_plain_models_through_restarts_and_cleaning() {
    for seed in 0..6 {
        run(seed, 1500);
    }
}

/// Of the collection under `name`: whether it is packed, and of the elements that it has had the most, the longest, and whether all were integers.
fn form(store: &Store, name: &[u8]) -> (bool, (usize, usize, bool)) {
    let guard = pin();
    let view = store.collection(key(name), None, 0, NOW, &guard).expect("a collection").expect("there");
    let Extent { most, longest, only_integers, .. } = view.extent();
    (view.is_packed(), (most, longest, only_integers))
}

#[test]
fn a_collection_is_packed_until_it_outgrows_its_record() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let mut store = open(&path);
    let mut worker = store.worker();
    let expires = NOW + 1000;
    in_txn(&store, &mut worker, &[b"h", b"l", b"s"], |txn| {
        let mut hash = txn.edit_new(key(b"h"), ObjectType::Hash, Some(expires));
        hash.put(b"field", &[7; 300]).expect("room");
        hash.finish().expect("staged");
        let mut list = txn.list_new(key(b"l"), None);
        list.push(End::Right, b"b").expect("room");
        list.push(End::Left, b"a").expect("room");
        list.finish().expect("staged");
        let mut set = txn.edit(key(b"s"), ObjectType::Set).expect("absent");
        (0..PACKED_MOST).for_each(|number| drop(set.add_new(number.to_string().as_bytes(), &[])));
        set.finish().expect("staged");
    });
    assert_eq!(store.check_books(), Ok(()));
    assert_eq!(form(&store, b"h"), (true, (1, 300, false)));
    // What it has been like is kept, over changes and restarts.
    in_txn(&store, &mut worker, &[b"h"], |txn| {
        let mut hash = txn.edit(key(b"h"), ObjectType::Hash).expect("a hash");
        hash.put(b"field", b"short").expect("room");
        hash.finish().expect("staged");
    });
    drop((worker, store));
    store = open(&path);
    worker = store.worker();
    assert_eq!(form(&store, b"h"), (true, (1, 300, false)));
    assert!(form(&store, b"l").0);
    assert_eq!(form(&store, b"s"), (true, (PACKED_MOST, 2, true)));
    // Each for another reason: bytes, an element in the middle of a list, the number of elements, an element that expires.
    let before = (found(&store, b"h"), found(&store, b"l"), found(&store, b"s"));
    in_txn(&store, &mut worker, &[b"h", b"l", b"s"], |txn| {
        let mut hash = txn.edit(key(b"h"), ObjectType::Hash).expect("a hash");
        assert!(hash.put(b"other", &[8; 600]).expect("room"));
        assert_eq!(hash.get(b"field").expect("still there").value(), b"short");
        hash.remove(b"other");
        hash.finish().expect("staged");
        let mut list = txn.list(key(b"l")).expect("a list");
        list.insert(1, &[9; 600]).expect("room");
        list.finish().expect("staged");
        let mut set = txn.edit(key(b"s"), ObjectType::Set).expect("a set");
        assert!(!set.add_new(b"63", &[]).expect("room"));
        assert!(set.add_new(b"64", &[]).expect("room"));
        set.remove(b"64");
        set.finish().expect("staged");
    });
    let check = |store: &Store| {
        assert_eq!((found(store, b"h"), found(store, b"s")), (before.0.clone(), before.2.clone()));
        let list = [&b"a"[..], &[9; 600], b"b"].map(<[u8]>::to_vec);
        assert_eq!(found(store, b"l"), Some(Model::List(list.into())));
        for name in [&b"h"[..], b"l", b"s"] {
            assert!(!form(store, name).0);
        }
        let guard = pin();
        let hash = store.collection(key(b"h"), None, 0, NOW, &guard).expect("a collection").expect("there");
        assert_eq!(hash.entry().expire_at(), Some(expires));
        drop(hash);
        assert_eq!(store.check_books(), Ok(()));
    };
    check(&store);
    drop((worker, store));
    check(&open(&path));
}

/// What a list of element records holds after changes of it, and after a restart.
fn list_over_a_restart(act: impl FnOnce(&mut dyn FnMut(&dyn Fn(&mut ListEdit<'_, '_>)))) -> [Option<Model>; 2] {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    store.set_packed_bytes(0);
    let mut worker = store.worker();
    act(&mut |change| {
        in_txn(&store, &mut worker, &[b"l"], |txn| {
            let mut list = txn.list(key(b"l")).expect("a list");
            change(&mut list);
            list.finish().expect("staged");
        });
    });
    let before = found(&store, b"l");
    drop((worker, store));
    [before, found(&open(&path), b"l")]
}

/// Where the labels between neighbours are used up at an end of a list, others get labels beyond it: over places that elements had which are cut off.
#[test]
fn what_was_popped_stays_away_when_neighbours_get_new_labels() {
    for end in [End::Left, End::Right] {
        let [before, after] = list_over_a_restart(|change| {
            change(&|list| [b"a", b"b"].into_iter().for_each(|value| list.push(End::Right, value).expect("room")));
            change(&|list| (0..12).for_each(|_| list.push(end, b"popped").expect("room")));
            change(&|list| (0..12).for_each(|_| assert!(list.pop(end).is_some())));
            // Always into the same gap, which is halved each time.
            (0..20).for_each(|_| change(&|list| list.insert(1, b"between").expect("room")));
            change(&|list| list.push(end, b"popped").expect("room"));
            change(&|list| assert!(list.pop(end).is_some()));
        });
        assert!(matches!(&before, Some(Model::List(list)) if list.len() == 22));
        assert_eq!(after, before, "{end:?}");
    }
}

/// Its only element was put between two others that are gone: no bounds tell that it is gone, too.
#[test]
fn the_last_element_leaves_nothing_behind_when_another_takes_its_place() {
    let [before, after] = list_over_a_restart(|change| {
        change(&|list| [b"a", b"b"].into_iter().for_each(|value| list.push(End::Right, value).expect("room")));
        change(&|list| list.insert(1, b"between").expect("room"));
        change(&|list| assert!(list.pop(End::Left).is_some() && list.pop(End::Right).is_some()));
        change(&|list| {
            let element = list.pop(End::Left).expect("there");
            list.push(End::Right, element.value()).expect("room");
        });
    });
    assert_eq!(before, Some(Model::List([b"between".to_vec()].into())));
    assert_eq!(after, before);
}

/// A new collection longer than a commit batch can be; given up, it leaves nothing that is counted wrong.
#[test]
fn a_new_collection_may_be_longer_than_a_segment() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pool");
    let store = open(&path);
    let mut worker = store.worker();
    let members: Vec<Vec<u8>> = (0..10_000).map(|i| format!("member:{i}").into_bytes()).collect();
    for commits in [false, true] {
        let guard = pin();
        let mut txn = store.write(&mut worker, &[key(b"set")], NOW, &guard);
        let mut edit = txn.edit(key(b"set"), ObjectType::Set).expect("absent");
        for member in members.iter().chain(&members[..10]) {
            edit.put(member, b"").expect("room");
        }
        assert_eq!(edit.len(), members.len());
        edit.finish().expect("staged");
        if commits {
            txn.commit().expect("room")
        } else {
            drop(txn)
        }
        drop(guard);
        assert_eq!(store.check_books(), Ok(()));
    }
    let before = found(&store, b"set");
    assert!(matches!(&before, Some(Model::Map(_, map)) if map.len() == members.len()));
    drop((worker, store));
    let store = open(&path);
    assert_eq!(found(&store, b"set"), before);
    let mut worker = store.worker();
    in_txn(&store, &mut worker, &[b"set"], |txn| txn.delete(key(b"set")).expect("ok"));
    assert_eq!(found(&store, b"set"), None);
    // Ends: nobody reads it.
    while store.reap(Duration::from_millis(1)) {}
    assert_eq!(store.check_books(), Ok(()));
}
