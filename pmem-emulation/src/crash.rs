//! The images that a power cut can leave, at each point of a trace.
//!
//! | choice | the image |
//! |---|---|
//! | [`Choice::Prefix`] | everything stored so far, as if each line had reached the medium at once (level L0) |
//! | [`Choice::Durable`] | only what is surely durable |
//! | [`Choice::Random`] | what is surely durable, and of the rest what the seed says, torn by units (level L3) |
//! | [`Choice::Kept`] | what is surely durable, and of the rest just this: levels L1 ([`Replay::lazy`]) and L2 ([`Replay::representatives`]) |
//!
//! A [`CrashToken`] names one of them, so that a failure can be run again.
//!
//! What is surely durable changes only at fences (at syncs, in the page cache), and what is promised only when operations begin and
//! end. So the cuts that [`Replay::next_cut`] stops at have all images of all cuts, each with promises at least as strict.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::str::FromStr;

use crate::hook::Note;
use crate::kept::Kept;
use crate::lazy::Lazy;
use crate::model::{Domain, Flaw, Model};
use crate::objects::{self, Object, Values};
use crate::recorder::step;
use crate::trace::{EventKind, Trace};

/// Which of the possible images.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// All that was stored.
    Prefix,
    /// Nothing but what is surely durable.
    Durable,
    /// As this seed chooses.
    Random(u64),
    /// This, and what is surely durable.
    Kept(Kept),
}

/// The name of one image: how many events had happened, and the choice. Written as `17:prefix`, `17:durable`, `17:0x2a` or
/// `17:2040=ff+2080=03`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrashToken {
    /// Events before the cut.
    pub position: usize,
    /// The image at this cut.
    pub choice: Choice,
}

impl fmt::Display for CrashToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.position)?;
        match &self.choice {
            Choice::Prefix => f.write_str("prefix"),
            Choice::Durable => f.write_str("durable"),
            Choice::Random(seed) => write!(f, "{seed:#x}"),
            Choice::Kept(kept) => kept.fmt(f),
        }
    }
}

impl FromStr for CrashToken {
    type Err = String;

    fn from_str(token: &str) -> Result<Self, String> {
        let wrong =
            || format!("{token:?} is not a crash token such as 17:prefix, 17:durable, 17:0x2a or 17:2040=ff+2080=03");
        let (position, choice) = token.split_once(':').ok_or_else(wrong)?;
        let choice = match choice {
            "prefix" => Choice::Prefix,
            "durable" => Choice::Durable,
            other => match other.strip_prefix("0x") {
                Some(seed) => Choice::Random(u64::from_str_radix(seed, 16).map_err(|_| wrong())?),
                None => Choice::Kept(other.parse().map_err(|_| wrong())?),
            },
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

/// What had been promised at a cut.
#[derive(Clone, Copy, Debug)]
pub struct Promises<'a> {
    /// Operations that were acknowledged, in order: they must be there.
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
    /// Whether something was stored, or an operation ended, since the last cut that [`Self::next_cut`] stopped at.
    changed: bool,
}

impl<'a> Replay<'a> {
    /// Stands before the first event. The domain may be another than the recorder's.
    pub fn new(trace: &'a Trace, domain: Domain) -> Self {
        Self::with_flaw(trace, domain, Flaw::None)
    }

    /// The same with a part of the model left out: only to show that a test depends on that part.
    pub fn with_flaw(trace: &'a Trace, domain: Domain, flaw: Flaw) -> Self {
        let model = Model::new(domain, trace.base()).with_flaw(flaw);
        Self { trace, model, position: 0, acknowledged: Vec::new(), unanswered: Vec::new(), changed: false }
    }

    /// What keeps its contents.
    pub fn domain(&self) -> Domain {
        self.model.domain()
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
        self.changed |= matches!(
            event.kind,
            EventKind::Store { .. }
                | EventKind::Copy { .. }
                | EventKind::CopyNt { .. }
                | EventKind::Grow { .. }
                | EventKind::Note(Note::Ack(_) | Note::Abandon(_))
        );
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

    /// Goes on to the next cut at which there is something new to see: just before a fence (a sync) completes and before an operation
    /// begins, where something was stored since the last one; just after an operation ends; and the end. The cut before the first
    /// event is [`Replay::new`]'s. `false` behind the end.
    pub fn next_cut(&mut self) -> bool {
        // Ends: each turn takes an event.
        while self.step() {
            if self.changed && self.is_cut() {
                self.changed = false;
                return true;
            }
        }
        false
    }

    /// Whether the next event takes something away from what a cut here can leave, or from what it must keep.
    fn is_cut(&self) -> bool {
        let ends = |kind| matches!(kind, EventKind::Note(Note::Ack(_) | Note::Abandon(_)));
        let after_end = self.position > 0 && ends(self.trace.events()[self.position - 1].kind);
        match self.trace.events().get(self.position).map(|event| event.kind) {
            None | Some(EventKind::Fence | EventKind::Sync | EventKind::Note(Note::Begin(_))) => true,
            Some(_) => after_end,
        }
    }

    /// What had been promised here.
    pub fn promises(&self) -> Promises<'_> {
        Promises { acknowledged: &self.acknowledged, unanswered: &self.unanswered }
    }

    /// Whether anything stored so far could still be lost. If not, all images of this cut are the same.
    pub fn has_pending(&self) -> bool {
        self.model.has_pending()
    }

    /// What is pending, in pieces that are kept or lost on their own, oldest first.
    pub fn objects(&self) -> Vec<Object> {
        objects::objects(&self.model)
    }

    /// The images at this cut that stand for all others (level L2).
    pub fn representatives(&self) -> Vec<Kept> {
        objects::representatives(&self.model, &self.objects())
    }

    /// All images at this cut that recovery can tell apart by what it reads (level L1).
    pub fn lazy(&self, values: Values) -> Lazy {
        let objects = self.objects();
        let values = objects.iter().map(|object| objects::values(&self.model, object, values)).collect();
        Lazy::new(objects, values, self.model.domain().line_bytes())
    }

    /// What a crash here keeps by this seed's choice.
    pub fn random(&self, seed: u64) -> Kept {
        self.model.random(seed)
    }

    /// What a crash here keeps that keeps everything.
    pub fn everything(&self) -> Kept {
        let mut kept = Kept::default();
        for (line, entry) in self.model.pending() {
            kept.push(crate::kept::KeptLine { line, units: vec![u8::MAX; entry.pending.len()] });
        }
        kept
    }

    /// Shows the image that keeps `kept`. Costs no copy: the few lines are changed in place and back again.
    pub fn with_image<R>(&mut self, kept: &Kept, visit: impl FnOnce(&[u8]) -> R) -> R {
        self.model.with_image(kept, visit)
    }

    /// A hash of the image that keeps `kept`: two images of one trace with the same hash are taken to be the same.
    pub fn image_hash(&mut self, kept: &Kept) -> u64 {
        self.model.image_hash(kept)
    }

    /// Where the newest pending write came from and what is pending beside it, as a number: cuts alike in this are alike.
    pub fn shape(&self) -> (Option<&'static Location<'static>>, u64) {
        let objects = self.objects();
        let next_site = self.trace.events().get(self.position).map(|event| event.site);
        let shape = objects.iter().fold(0u64, |shape, object| {
            let size = (object.lines().len() as u64).ilog2() as u64 * 8 + u64::from(object.is_one_write());
            let site = u64::from(object.site.line()) << 16 | size;
            (shape ^ site).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
        });
        (next_site.or(objects.last().map(|object| object.site)), shape)
    }

    /// The image of a choice at this cut. `Prefix` and `Durable` cost nothing; the others copy the region.
    pub fn image(&mut self, choice: &Choice) -> Cow<'_, [u8]> {
        match choice {
            Choice::Prefix => Cow::Borrowed(self.model.volatile()),
            Choice::Durable => Cow::Borrowed(self.model.durable()),
            Choice::Random(seed) => Cow::Owned(self.model.with_image(&self.model.random(*seed), <[u8]>::to_vec)),
            Choice::Kept(kept) => Cow::Owned(self.model.with_image(kept, <[u8]>::to_vec)),
        }
    }

    /// Shows the image of a choice at this cut.
    pub fn crash(&mut self, choice: Choice, visit: &mut dyn FnMut(&Crash<'_>)) {
        let image = self.image(&choice).into_owned();
        visit(&Crash {
            token: CrashToken { position: self.position, choice },
            image: &image,
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
    pub fn crash_at(&self, domain: Domain, token: &CrashToken, visit: &mut dyn FnMut(&Crash<'_>)) -> bool {
        let mut replay = Replay::new(self, domain);
        while replay.position() < token.position {
            if !replay.step() {
                return false;
            }
        }
        replay.crash(token.choice.clone(), visit);
        true
    }
}
