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

    /// Whether anybody is told of this key.
    pub fn has(&self, key: &[u8]) -> bool {
        self.0.keys().any(|prefix| key.starts_with(prefix))
    }

    /// Each prefix and its clients.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u64])> {
        self.0.iter().map(|(prefix, clients)| (prefix.as_slice(), clients.as_slice()))
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
