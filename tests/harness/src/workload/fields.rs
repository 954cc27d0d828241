//! Fields of hashes that expire.

use super::{HASHES, INSTANTS, SPANS, Workload};
use crate::{Command, command};

impl Workload {
    pub(super) fn field_expiry(&mut self) -> Command {
        const TELL: [&str; 5] = ["HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME", "HPERSIST"];
        let key = self.key_among(HASHES);
        let (mut words, mut with_values) = (Vec::new(), false);
        match self.rng.below(12) {
            0..5 => {
                let (name, time) = match self.rng.below(4) {
                    0 => ("HEXPIRE", self.rng.pick(SPANS).to_string()),
                    1 => ("HPEXPIRE", format!("{}000", self.rng.pick(SPANS))),
                    2 => ("HEXPIREAT", self.rng.pick(INSTANTS).to_string()),
                    _ => ("HPEXPIREAT", format!("{}123", self.rng.pick(INSTANTS))),
                };
                words.extend(command(&[name.as_bytes(), &key, time.as_bytes()]));
                if self.rng.one_in(2) {
                    words.push(self.rng.pick(&["NX", "XX", "GT", "LT", "lt"]).as_bytes().to_vec());
                }
            }
            5..7 => words.extend(command(&[self.rng.pick(&TELL).as_bytes(), &key])),
            7 => words.extend(command(&[&b"HGETDEL"[..], &key])),
            8..10 => {
                words.extend(command(&[&b"HGETEX"[..], &key]));
                match self.rng.below(3) {
                    0 => words.push(b"PERSIST".to_vec()),
                    1 => words.extend(self.deadline()),
                    _ => {}
                }
            }
            _ => {
                with_values = true;
                words.extend(command(&[&b"HSETEX"[..], &key]));
                if self.rng.one_in(3) {
                    words.push(self.rng.pick(&["FNX", "FXX", "fxx"]).as_bytes().to_vec());
                }
                match self.rng.below(4) {
                    0 => words.push(b"KEEPTTL".to_vec()),
                    1 | 2 => words.extend(self.deadline()),
                    _ => {}
                }
            }
        }
        let count = self.rng.between(1, 4);
        words.extend(command(&["FIELDS", &count.to_string()]));
        words.extend((0..if with_values { 2 * count } else { count }).map(|_| self.element()));
        words
    }
}
