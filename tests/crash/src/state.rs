//! The logical state of a store: all databases, keys, values and expiries.

use crossbeam_epoch::pin;
use fencepost::store::{Db, Store};
use std::collections::BTreeMap;
use std::fmt;

/// A database and a key in it.
pub type Name = (Db, Vec<u8>);

/// Fields of a hash that expire: value, and Unix milliseconds.
pub type Fields = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

/// What a key holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// As TYPE names it.
    pub kind: &'static str,
    /// The string; of a collection all elements that do not expire by themselves, see [`joined`].
    pub bytes: Vec<u8>,
    /// A hash's fields that expire.
    pub fields: Fields,
    /// Whether OBJECT ENCODING says `raw` for how it was made.
    pub raw: bool,
    /// Unix milliseconds.
    pub expire_at: Option<u64>,
}

impl Value {
    /// What is left of it at `now_ms`; nothing of a hash whose last field has expired.
    fn at(&self, now_ms: u64) -> Option<Self> {
        let mut value = self.clone();
        value.fields.retain(|_, (_, at)| *at > now_ms);
        let is_over = value.kind == "hash" && value.bytes.is_empty() && value.fields.is_empty();
        (!is_over).then_some(value)
    }

    fn expired(&self, now_ms: u64) -> bool {
        self.expire_at.is_some_and(|at| at <= now_ms)
    }
}

/// Everything that a store holds. Keys and fields that have expired are in it until the store has removed them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct State(pub BTreeMap<Name, Value>);

impl State {
    /// What the store's index has. Looks without being seen: nothing is taken to have expired, so nothing is removed or marked.
    pub fn of(store: &Store) -> Self {
        let mut state = BTreeMap::new();
        let guard = pin();
        for db in 0..store.databases() {
            let mut cursor = 0;
            loop {
                cursor = store.scan(db, cursor, 0, &guard, &mut |entry| {
                    let kind = entry.type_name();
                    let (bytes, fields) = match entry.is_collection() {
                        false => (entry.string().expect("a string").bytes().into_owned(), BTreeMap::new()),
                        true => {
                            let view = store.view(entry, 0).expect("a collection");
                            let elements = view.iter();
                            let parts = elements.map(|element| (element.name(), element.value(), element.expire_at()));
                            parted(kind, parts)
                        }
                    };
                    let value = Value { kind, bytes, fields, raw: entry.is_raw(), expire_at: entry.expire_at() };
                    state.insert((db, entry.key().to_vec()), value);
                });
                if cursor == 0 {
                    break;
                }
            }
        }
        Self(state)
    }

    /// Whether both have the same keys and fields alive at `now_ms`.
    pub fn same_at(&self, other: &Self, now_ms: u64) -> bool {
        self.at(now_ms) == other.at(now_ms)
    }

    /// What is alive at `now_ms`.
    fn at(&self, now_ms: u64) -> Self {
        let alive = self.0.iter().filter(|(_, value)| !value.expired(now_ms));
        Self(alive.filter_map(|(name, value)| Some((name.clone(), value.at(now_ms)?))).collect())
    }

    /// What has expired at `now_ms`: keys, and fields of keys that have not, each with when it did.
    pub fn expired_at(&self, now_ms: u64) -> impl Iterator<Item = (Expired, u64)> + '_ {
        self.0.iter().flat_map(move |(name, value)| {
            let key = value.expire_at.filter(|&at| at <= now_ms).map(|at| ((name.clone(), None), at));
            let due = value.fields.iter().filter(move |(_, (_, at))| *at <= now_ms && !value.expired(now_ms));
            key.into_iter().chain(due.map(|(field, (_, at))| ((name.clone(), Some(field.clone())), *at)))
        })
    }

    /// Whether all that has expired here at `now_ms` is there, as it is here.
    pub fn has_expired_of(&self, other: &Self, now_ms: u64) -> bool {
        other.expired_at(now_ms).all(|((name, field), _)| {
            let (Some(mine), Some(theirs)) = (self.0.get(&name), other.0.get(&name)) else { return false };
            match field {
                Some(field) => mine.fields.get(&field) == theirs.fields.get(&field),
                None => mine.at(now_ms) == theirs.at(now_ms),
            }
        })
    }
}

/// A key that has expired, or a field of it.
pub type Expired = (Name, Option<Vec<u8>>);

/// The elements of a collection: those that do not expire, [`joined`], and the others.
pub fn parted<'e>(kind: &str, elements: impl Iterator<Item = (&'e [u8], &'e [u8], Option<u64>)>) -> (Vec<u8>, Fields) {
    let (mut lasting, mut fields) = (Vec::new(), BTreeMap::new());
    for (name, value, expire_at) in elements {
        match expire_at {
            None => lasting.push((name, value)),
            Some(at) => drop(fields.insert(name.to_vec(), (value.to_vec(), at))),
        }
    }
    (joined(kind, lasting), fields)
}

/// The elements of a collection in one piece: those of a list in their order, with their values alone; others by their names, which tell them apart;
/// of a sorted set in its order, so that a wrong order shows.
fn joined(kind: &str, mut elements: Vec<(&[u8], &[u8])>) -> Vec<u8> {
    if matches!(kind, "hash" | "set") {
        elements.sort_unstable();
    }
    let mut bytes = Vec::new();
    for (name, value) in elements {
        let name = if kind == "list" { &[][..] } else { name };
        for part in [name, value] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index == SHOWN {
                return write!(f, ", and {} more", self.0.len() - SHOWN);
            }
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{}", show(name, Some(value)))?;
        }
        Ok(())
    }
}

/// Keys that are shown of a state, and of a difference.
const SHOWN: usize = 8;

fn show((db, name): &Name, value: Option<&Value>) -> String {
    let Some(value) = value else { return format!("{db}:{} is missing", name.escape_ascii()) };
    let kind = if value.kind == "string" { String::new() } else { format!(" ({})", value.kind) };
    let until = value.expire_at.map(|at| format!(" until {at}")).unwrap_or_default();
    let field = |(name, (value, at)): (&Vec<u8>, &(Vec<u8>, u64))| {
        format!(" {}: {} until {at}", name.escape_ascii(), abridged(value))
    };
    let fields: String = value.fields.iter().map(field).collect();
    format!("{db}:{} = {}{fields}{kind}{until}", name.escape_ascii(), abridged(&value.bytes))
}

impl State {
    /// How this differs from what it should be, for people: the keys that do.
    pub fn difference(&self, expected: &Self) -> String {
        let names: std::collections::BTreeSet<&Name> = self.0.keys().chain(expected.0.keys()).collect();
        let differing = names.into_iter().filter(|name| self.0.get(name) != expected.0.get(name));
        let lines: Vec<String> = differing
            .map(|name| format!("{} instead of {}", show(name, self.0.get(name)), show(name, expected.0.get(name))))
            .collect();
        match lines.len() {
            0 => "nothing differs".to_owned(),
            1..=SHOWN => lines.join("; "),
            many => format!("{}; and {} more", lines[..SHOWN].join("; "), many - SHOWN),
        }
    }
}

/// Short bytes in full; of long ones the length, both ends and a sum that tells them apart.
fn abridged(bytes: &[u8]) -> String {
    if bytes.len() <= 24 {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let sum = bytes.iter().fold(0u32, |sum, &byte| sum.rotate_left(5) ^ u32::from(byte));
    let (head, tail) = (&bytes[..4], &bytes[bytes.len() - 4..]);
    format!("{} bytes \"{}...{}\" ({sum:08x})", bytes.len(), head.escape_ascii(), tail.escape_ascii())
}
