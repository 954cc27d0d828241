//! The requests that wait for EXEC, and which keys they may look at or change.

use crate::command::parse::{integer, is_word};
use crate::command::{Flags, Found, KeySpec};
use crate::protocol::{ArgSpans, Args};

/// A request that waits.
struct Queued {
    found: Found,
    bytes: Vec<u8>,
    spans: ArgSpans,
}

/// The requests since MULTI.
#[derive(Default)]
pub struct Queue {
    requests: Vec<Queued>,
    bytes: usize,
    refused: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({} requests, refused: {})", self.requests.len(), self.refused)
    }
}

impl Queue {
    /// Keeps a copy of a request.
    pub(super) fn push(&mut self, found: &Found, args: Args<'_>) {
        let mut bytes = Vec::with_capacity(args.iter().map(<[u8]>::len).sum());
        let mut spans = ArgSpans::new();
        for arg in args.iter() {
            spans.push(bytes.len() as u32, arg.len() as u32);
            bytes.extend_from_slice(arg);
        }
        self.bytes += size_of::<Queued>() + bytes.capacity() + args.len() * size_of::<(u32, u32)>();
        self.requests.push(Queued { found: *found, bytes, spans });
    }

    /// A request could not be queued: EXEC will run none.
    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Whether one could not be queued.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// DRAM that they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The requests in their order.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&Found, Args<'_>)> {
        self.requests.iter().map(|queued| (&queued.found, queued.spans.args(&queued.bytes)))
    }

    /// Request number `at`.
    pub(super) fn request(&self, at: usize) -> (&Found, Args<'_>) {
        let Queued { found, bytes, spans } = &self.requests[at];
        (found, spans.args(bytes))
    }

    /// The flags by which EXEC is let in.
    pub(super) fn flags_of_exec(&self, own: Flags) -> Flags {
        let all = self.requests.iter().map(|queued| queued.found.spec.flags);
        let any = all.clone().fold(Flags::empty(), Flags::union) & (Flags::WRITE | Flags::DENYOOM);
        let each = all.fold(Flags::LOADING, Flags::intersection);
        (own | any) - (Flags::LOADING - each)
    }

    /// The first request that the pool has to have room for, if more than one may write.
    pub(super) fn first_that_needs_room(&self) -> Option<usize> {
        let needs_room = |queued: &Queued| queued.found.spec.flags.contains(Flags::DENYOOM);
        self.may_write_severally().then(|| self.requests.iter().position(needs_room))?
    }

    /// Roughly what they write, in bytes: each word a record of its own, and each request a packed collection anew, which has up to `packed_bytes`.
    pub(super) fn record_bytes(&self, packed_bytes: usize) -> u64 {
        let words: usize = self.requests.iter().map(|queued| queued.spans.len()).sum();
        (self.bytes + 64 * words + (128 + packed_bytes) * self.requests.len()) as u64
    }

    /// Whether more than one of them may write.
    pub(super) fn may_write_severally(&self) -> bool {
        let may_write = |queued: &&Queued| {
            // PFCOUNT keeps its count with the sketch.
            let spec = queued.found.spec;
            spec.flags.intersects(Flags::WRITE | Flags::ADMIN | Flags::MOVABLEKEYS) || spec.name == "pfcount"
        };
        self.requests.iter().filter(may_write).nth(1).is_some()
    }

    /// The names of all keys that they may look at or change, whatever the database; `None` where that cannot be told.
    pub(super) fn keys(&self) -> Option<Vec<&[u8]>> {
        let mut names = Vec::new();
        for queued in &self.requests {
            push_keys(&queued.found, queued.spans.args(&queued.bytes), &mut names)?;
        }
        Some(names)
    }
}

fn push_keys<'r>(found: &Found, request: Args<'r>, names: &mut Vec<&'r [u8]>) -> Option<()> {
    let spec = found.spec;
    let top = found.container.unwrap_or(spec).name;
    let about_data = spec.flags.intersects(Flags::WRITE | Flags::READONLY);
    let positions = match spec.keys {
        _ if top == "debug" => return None,
        KeySpec::None | KeySpec::Range { .. } if spec.flags.contains(Flags::MOVABLEKEYS) => return None,
        KeySpec::None if about_data => return None,
        KeySpec::None => return Some(()),
        KeySpec::Range { first, last, step } => {
            let end = if last < 0 { (request.len() as isize + last + 1).max(0) as usize } else { last as usize + 1 };
            (first..end.min(request.len())).step_by(step)
        }
        KeySpec::OneAndStored { first, from } => {
            // Whichever of them counts.
            let stores = |at: &usize| ["STORE", "STOREDIST"].iter().any(|word| is_word(request.at(*at), word));
            names.extend((from..request.len()).filter(stores).filter_map(|at| request.get(at + 1)));
            (first..first + 1).step_by(1)
        }
        // What makes no sense is refused when it runs.
        KeySpec::Counted { at } | KeySpec::TargetAndCounted { at, .. } => {
            if let KeySpec::TargetAndCounted { target, .. } = spec.keys {
                names.extend(request.get(target));
            }
            let count = request.get(at).and_then(integer).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
            (at + 1..(at + 1).saturating_add(count).min(request.len())).step_by(1)
        }
    };
    names.extend(positions.filter_map(|at| request.get(at)));
    Some(())
}
