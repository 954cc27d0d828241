//! The images that a power cut can leave, at each point of a trace.
//!
//! | choice | the image |
//! |---|---|
//! | [`Choice::Prefix`] | everything stored so far, as if each line had reached the medium at once (level L0) |
//! | [`Choice::Durable`] | only what is surely durable |
//! | [`Choice::Random`] | what is surely durable, and of the rest what the seed says, torn by units (level L3) |
//!
//! A [`CrashToken`] names one of them, so that a failure can be run again.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::hook::Note;
use crate::model::{Domain, Model};
use crate::recorder::step;
use crate::trace::{EventKind, Trace};

/// Which of the possible images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// All that was stored.
    Prefix,
    /// Nothing but what is surely durable.
    Durable,
    /// As this seed chooses.
    Random(u64),
}

/// The name of one image: how many events had happened, and the choice. Written as `17:prefix`, `17:durable` or
/// `17:0x2a`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrashToken {
    /// Events before the cut.
    pub position: usize,
    /// The image at this cut.
    pub choice: Choice,
}

impl fmt::Display for CrashToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.choice {
            Choice::Prefix => write!(f, "{}:prefix", self.position),
            Choice::Durable => write!(f, "{}:durable", self.position),
            Choice::Random(seed) => write!(f, "{}:{seed:#x}", self.position),
        }
    }
}

impl FromStr for CrashToken {
    type Err = String;

    fn from_str(token: &str) -> Result<Self, String> {
        let wrong = || format!("{token:?} is not a crash token such as 17:prefix, 17:durable or 17:0x2a");
        let (position, choice) = token.split_once(':').ok_or_else(wrong)?;
        let choice = match choice {
            "prefix" => Choice::Prefix,
            "durable" => Choice::Durable,
            seed => {
                let seed = seed.strip_prefix("0x").ok_or_else(wrong)?;
                Choice::Random(u64::from_str_radix(seed, 16).map_err(|_| wrong())?)
            }
        };
        Ok(Self { position: position.parse().map_err(|_| wrong())?, choice })
    }
}

/// One power cut: what is left, and what had been promised.
pub struct Crash<'a> {
    /// Its name.
    pub token: CrashToken,
    /// The region after it.
    pub image: &'a [u8],
    /// Operations that were acknowledged before it, in order: they must be there.
    pub acknowledged: &'a [u64],
    /// Operations that were begun and not acknowledged: each is there as a whole or not at all.
    pub unanswered: &'a [u64],
}

/// A walk through a trace, from cut to cut. Position 0 is before the first event.
pub struct Replay<'a> {
    trace: &'a Trace,
    model: Model,
    position: usize,
    acknowledged: Vec<u64>,
    unanswered: Vec<u64>,
}

impl<'a> Replay<'a> {
    /// Stands before the first event. The domain may be another than the recorder's.
    pub fn new(trace: &'a Trace, domain: Domain) -> Self {
        let model = Model::new(domain, trace.base());
        Self { trace, model, position: 0, acknowledged: Vec::new(), unanswered: Vec::new() }
    }

    /// Events passed so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Takes the next event; `false` at the end.
    pub fn step(&mut self) -> bool {
        let Some(event) = self.trace.events().get(self.position) else { return false };
        let data = match event.kind {
            EventKind::Copy { bytes, .. } | EventKind::CopyNt { bytes, .. } => self.trace.bytes(bytes),
            _ => &[],
        };
        step(&mut self.model, event.thread, event.kind, data, event.site, &mut |_| ());
        if let EventKind::Note(note) = event.kind {
            self.promise(note);
        }
        self.position += 1;
        true
    }

    fn promise(&mut self, note: Note) {
        match note {
            Note::Begin(op) => self.unanswered.push(op),
            Note::Ack(op) => {
                self.unanswered.retain(|&open| open != op);
                self.acknowledged.push(op);
            }
            Note::Abandon(op) => self.unanswered.retain(|&open| open != op),
            Note::HandOver(_) | Note::TakeOver(_) | Note::RecoveryDone => {}
        }
    }

    /// Whether anything stored so far could still be lost. If not, all images of this cut are the same.
    pub fn has_pending(&self) -> bool {
        self.model.has_pending()
    }

    /// The image of a choice at this cut. `Prefix` and `Durable` cost nothing; `Random` copies the region.
    pub fn image(&self, choice: Choice) -> Cow<'_, [u8]> {
        match choice {
            Choice::Prefix => Cow::Borrowed(self.model.volatile()),
            Choice::Durable => Cow::Borrowed(self.model.durable()),
            Choice::Random(seed) => Cow::Owned(self.model.random_image(seed)),
        }
    }

    /// Shows the image of a choice at this cut.
    pub fn crash(&self, choice: Choice, visit: &mut dyn FnMut(&Crash<'_>)) {
        visit(&Crash {
            token: CrashToken { position: self.position, choice },
            image: &self.image(choice),
            acknowledged: &self.acknowledged,
            unanswered: &self.unanswered,
        });
    }
}

impl Trace {
    /// Shows, at every cut, the prefix image, and where something is pending the durable one and `random_per_cut`
    /// random ones. Only cuts after an event that changes an image or a promise are visited. Returns the number of
    /// images.
    pub fn for_each_crash(
        &self,
        domain: Domain,
        random_per_cut: u64,
        seed: u64,
        visit: &mut dyn FnMut(&Crash<'_>),
    ) -> u64 {
        let mut replay = Replay::new(self, domain);
        let mut images = 0;
        loop {
            replay.crash(Choice::Prefix, visit);
            images += 1;
            if replay.has_pending() {
                replay.crash(Choice::Durable, visit);
                for round in 0..random_per_cut {
                    let mix = seed ^ (replay.position as u64) << 24 ^ round;
                    replay.crash(Choice::Random(mix), visit);
                }
                images += 1 + random_per_cut;
            }
            // A flush by itself changes neither an image nor a promise.
            loop {
                if !replay.step() {
                    return images;
                }
                if !matches!(self.events()[replay.position - 1].kind, EventKind::Flush { .. }) {
                    break;
                }
            }
        }
    }

    /// Shows the one image that a token names; `false` when the trace is too short for it.
    pub fn crash_at(&self, domain: Domain, token: CrashToken, visit: &mut dyn FnMut(&Crash<'_>)) -> bool {
        let mut replay = Replay::new(self, domain);
        while replay.position() < token.position {
            if !replay.step() {
                return false;
            }
        }
        replay.crash(token.choice, visit);
        true
    }
}
