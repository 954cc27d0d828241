//! The value of a cuts record: the ranges that were cut out of a sorted set. `docs/format.md` has the same table for people.
//!
//! For each range, with integers and scores in little-endian:
//!
//! | offset | size | field |
//! |--:|--:|---|
//! | 0 | 8 | version: only elements whose version is lower are cut |
//! | 8 | 4 | length of the first member's name; 2^32 - 1: the range has no beginning |
//! | 12 | 4 | length of the last member's name; 2^32 - 1: the range has no end |
//! | 16 | 8 | score of the first member; 0 without one |
//! | 24 | 8 | score of the last member; 0 without one |
//! | 32 | .. | both names |

use std::cmp::Ordering;

const HEADER_BYTES: usize = 32;
/// In place of a length: there is no such member.
const NONE: u32 = u32::MAX;

/// A member's place in a sorted set: its score, then its name.
pub type ScoredName<'a> = (f64, &'a [u8]);

/// A range that was cut out of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut<'a> {
    /// Elements with lower versions were in the set when it was cut.
    pub version: u64,
    /// The first member that was cut out; `None`: there was none before the range.
    pub first: Option<ScoredName<'a>>,
    /// The last member that was cut out; `None`: there was none behind the range.
    pub last: Option<ScoredName<'a>>,
}

fn is_at_most(a: ScoredName<'_>, b: ScoredName<'_>) -> bool {
    // No score is NaN; 0 and -0 are one score.
    a.0.partial_cmp(&b.0).is_some_and(|scores| scores.then_with(|| a.1.cmp(b.1)) != Ordering::Greater)
}

impl<'a> Cut<'a> {
    /// Whether an element of this version, score and name was cut out.
    pub fn covers(&self, version: u64, place: ScoredName<'_>) -> bool {
        version < self.version
            && self.first.is_none_or(|first| is_at_most(first, place))
            && self.last.is_none_or(|last| is_at_most(place, last))
    }

    /// Whether `former`, which was made earlier, needs not be kept beside this one.
    pub fn outdoes(&self, former: &Cut<'_>) -> bool {
        let begins = match (self.first, former.first) {
            (Some(first), Some(former)) => is_at_most(first, former),
            (first, _) => first.is_none(),
        };
        let ends = match (self.last, former.last) {
            (Some(last), Some(former)) => is_at_most(former, last),
            (last, _) => last.is_none(),
        };
        former.version <= self.version && begins && ends
    }

    /// How many bytes [`Cut::encode`] appends.
    pub fn encoded_bytes(&self) -> usize {
        HEADER_BYTES + [self.first, self.last].iter().flatten().map(|(_, name)| name.len()).sum::<usize>()
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let ends = [self.first, self.last];
        out.extend_from_slice(&self.version.to_le_bytes());
        for end in ends {
            out.extend_from_slice(&end.map_or(NONE, |(_, name)| name.len() as u32).to_le_bytes());
        }
        for end in ends {
            out.extend_from_slice(&end.map_or(0.0, |(score, _)| score).to_le_bytes());
        }
        ends.iter().flatten().for_each(|(_, name)| out.extend_from_slice(name));
    }

    /// All of a record's value; `None` if it is none.
    pub fn decode_all(mut value: &'a [u8]) -> Option<Vec<Self>> {
        let mut cuts = Vec::new();
        // Ends: each turn takes a header's bytes or more.
        while !value.is_empty() {
            let (header, rest) = value.split_first_chunk::<HEADER_BYTES>()?;
            let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
            value = rest;
            let mut end = |number: usize| {
                let bytes = header[8 + 4 * number..12 + 4 * number].try_into().expect("four bytes");
                let score = f64::from_bits(long(16 + 8 * number));
                match u32::from_le_bytes(bytes) {
                    NONE => (score.to_bits() == 0).then_some(None),
                    len => {
                        let (name, rest) = value.split_at_checked(len as usize)?;
                        value = rest;
                        (!score.is_nan()).then_some(Some((score, name)))
                    }
                }
            };
            cuts.push(Self { version: long(0), first: end(0)?, last: end(1)? });
        }
        (!cuts.is_empty()).then_some(cuts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUTS: [Cut<'_>; 4] = [
        Cut { version: 7, first: Some((1.0, b"b")), last: Some((2.0, b"")) },
        Cut { version: 8, first: None, last: Some((f64::INFINITY, b"zz")) },
        Cut { version: 9, first: Some((-0.0, b"a")), last: None },
        Cut { version: 10, first: None, last: None },
    ];

    #[test]
    fn cuts_read_back_and_what_is_none_is_refused() {
        let mut value = Vec::new();
        CUTS.iter().for_each(|cut| cut.encode(&mut value));
        assert_eq!(Cut::decode_all(&value).as_deref(), Some(&CUTS[..]));
        assert_eq!(CUTS.iter().map(Cut::encoded_bytes).sum::<usize>(), value.len());
        let ends: Vec<usize> = (1..=CUTS.len())
            .map(|count| {
                let mut part = Vec::new();
                CUTS[..count].iter().for_each(|cut| cut.encode(&mut part));
                part.len()
            })
            .collect();
        for len in 0..value.len() {
            assert_eq!(Cut::decode_all(&value[..len]).is_some(), ends.contains(&len), "{len} bytes");
        }
        let mut not_a_number = Vec::new();
        Cut { version: 1, first: Some((f64::NAN, b"")), last: None }.encode(&mut not_a_number);
        assert_eq!(Cut::decode_all(&not_a_number), None);
        let mut long = value.clone();
        long[8..12].copy_from_slice(&(NONE - 1).to_le_bytes());
        assert_eq!(Cut::decode_all(&long), None, "a name that is longer than the value");
    }

    #[test]
    fn a_cut_covers_what_was_there_between_its_ends() {
        let cut = CUTS[0];
        for (place, covered) in [
            ((1.0, &b"a"[..]), false),
            ((1.0, b"b"), true),
            ((1.5, b"a"), true),
            ((2.0, b""), true),
            ((2.0, b"a"), false),
        ] {
            assert_eq!(cut.covers(6, place), covered, "{place:?}");
            assert!(!cut.covers(7, place), "put there later");
        }
        assert!(CUTS[1].covers(0, (f64::NEG_INFINITY, b"")) && CUTS[2].covers(0, (0.0, b"a")));
        assert!(CUTS[3].covers(9, (3.0, b"x")));
    }

    #[test]
    fn a_wider_and_newer_cut_outdoes_another() {
        let outdone = |new: usize| CUTS[..new].iter().filter(|former| CUTS[new].outdoes(former)).count();
        assert_eq!((outdone(1), outdone(2), outdone(3)), (1, 1, 3));
        assert!(!CUTS[0].outdoes(&CUTS[1]) && !CUTS[1].outdoes(&CUTS[2]));
    }
}
