//! Prefixes of keys that clients in BCAST mode are told of.

use std::collections::BTreeMap;

/// Who is told of keys that begin so.
#[derive(Debug, Default)]
pub struct Prefixes(BTreeMap<Vec<u8>, Vec<u64>>);

impl Prefixes {
    /// Has `client` be told of keys that begin with `prefix`.
    pub fn add(&mut self, prefix: &[u8], client: u64) {
        let clients = self.0.entry(prefix.to_vec()).or_default();
        if !clients.contains(&client) {
            clients.push(client);
        }
    }

    /// Ends that.
    pub fn remove(&mut self, prefix: &[u8], client: u64) {
        if let Some(clients) = self.0.get_mut(prefix) {
            clients.retain(|other| *other != client);
            if clients.is_empty() {
                self.0.remove(prefix);
            }
        }
    }

    /// The clients of each prefix that `key` begins with.
    pub fn of(&self, key: &[u8]) -> impl Iterator<Item = &[u64]> {
        self.0.iter().filter(|(prefix, _)| key.starts_with(prefix)).map(|(_, clients)| clients.as_slice())
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
