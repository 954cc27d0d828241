//! Values that name their client, operation, key and length and fill that length with a pattern of all four.

use crate::rng::Seed;

/// What a payload says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The client that wrote it.
    pub client: u32,
    /// The number of the operation in that client's life.
    pub operation: u64,
    /// The key it was written to, at first: RENAME and COPY carry it elsewhere.
    pub key: String,
    /// The whole length in bytes; at least that of the header.
    pub len: usize,
}

impl Payload {
    /// The bytes. A length below the header's is taken as the header's.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        let rest = self.len.saturating_sub(bytes.len());
        bytes.extend_from_slice(&self.pattern().bytes(rest));
        bytes
    }

    fn header(&self) -> Vec<u8> {
        format!("<{}:{}:{}:{}>", self.client, self.operation, self.key, self.len).into_bytes()
    }

    fn pattern(&self) -> crate::Rng {
        let key_sum = self.key.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Seed(self.operation ^ u64::from(self.client) << 48 ^ key_sum << 20).rng(self.len as u64)
    }

    /// Reads one payload at the start of `bytes` and returns it with what follows it; `None` when the bytes are not
    /// one, whole.
    pub fn parse(bytes: &[u8]) -> Option<(Payload, &[u8])> {
        const HEADER_BYTES_MAX: usize = 128;
        let end = bytes.iter().take(HEADER_BYTES_MAX).position(|&byte| byte == b'>')?;
        let header = std::str::from_utf8(bytes[..end].strip_prefix(b"<")?).ok()?;
        let (client, rest) = header.split_once(':')?;
        let (operation, rest) = rest.split_once(':')?;
        let (key, len) = rest.rsplit_once(':')?;
        let payload = Payload {
            client: client.parse().ok()?,
            operation: operation.parse().ok()?,
            key: key.to_owned(),
            len: len.parse().ok()?,
        };
        let whole = payload.bytes();
        bytes.starts_with(&whole).then(|| (payload, &bytes[whole.len()..]))
    }

    /// The payloads that make up `bytes` (APPEND makes rows of them), or `None` when anything else is among them.
    pub fn parse_row(mut bytes: &[u8]) -> Option<Vec<Payload>> {
        let mut row = Vec::new();
        while !bytes.is_empty() {
            let (payload, rest) = Payload::parse(bytes)?;
            row.push(payload);
            bytes = rest;
        }
        Some(row)
    }
}

/// A value for messages: whose it is, or that it is nobody's.
pub fn describe(bytes: &[u8]) -> String {
    match Payload::parse_row(bytes) {
        Some(row) => {
            let names = row.iter().map(|p| format!("client {} op {} key {} {}B", p.client, p.operation, p.key, p.len));
            format!("[{}]", names.collect::<Vec<_>>().join(" + "))
        }
        None => format!("bytes of no whole write: {}", crate::resp::show_bytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(operation: u64, len: usize) -> Payload {
        Payload { client: 3, operation, key: "c3:k1".to_owned(), len }
    }

    #[test]
    fn rows_are_read_back() {
        let row = [payload(1, 50), payload(2, 20), payload(3, 3000)];
        let bytes = row.iter().flat_map(Payload::bytes).collect::<Vec<u8>>();
        let read = Payload::parse_row(&bytes).expect("whole payloads");
        assert_eq!(read.iter().map(|p| p.operation).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(bytes.len(), 3070);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_seen() {
        let bytes = payload(77, 120).bytes();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_ne!(Payload::parse_row(&flipped), Some(vec![payload(77, 120)]), "flipped at {at}");
            if at > 0 {
                assert_eq!(Payload::parse_row(&bytes[..at]), None, "cut at {at}");
            }
        }
    }

    #[test]
    fn the_tail_of_an_older_value_is_seen() {
        let (old, new) = (payload(1, 400).bytes(), payload(2, 400).bytes());
        let mixed = [&new[..256], &old[256..]].concat();
        assert_eq!(Payload::parse_row(&mixed), None);
    }
}
