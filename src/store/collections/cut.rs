//! Removing a range of a sorted set, however many members are in it.
//!
//! A cuts record says of the ranges that were cut out of the set: no member is there whose newest record lies in one and is older. It holds all
//! ranges that still matter, so the newest record is enough; a range within a newer one matters no more. What goes for a list's bounds by their
//! labels does not go for scores: a member's older records may lie outside of the range. So members that may have older records in the pool get a
//! tombstone each, as from ZREM.

use super::{Collection, Element, Shape, Tools, View, is_before, name_of, score_of, with_element_key};
use crate::base::LogAddr;
use crate::base::mutant::{self, Mutant};
use crate::log::format::object_record_bytes;
use crate::log::{Cut, ObjectType, Record};
use crate::store::txn::Txn;
use crate::store::{Key, StoreError};
use std::ops::Range;

/// The most ranges of a set. Recovery looks through them for each member.
const MOST_CUTS: usize = 64;

/// The longest name of a member at an end of a range, in bytes.
const LONGEST_NAME: usize = 256;

/// One member that stays for so many that are removed is written again, in a new set: then what is removed need not even be taken out of DRAM.
const REMOVED_FOR_KEPT: usize = 16;

impl<'a> Txn<'a> {
    /// Stages the removal of a sorted set's members at these ranks, in the way that writes least: a packed set again; or a tombstone for each; or a cuts record, with tombstones
    /// for the members that may have older records; or what is left as a new set; or, when nothing is left, the key's own tombstone. A cuts record
    /// takes some 72 bytes and two names, and 32 bytes and two names for each former cut that still matters.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`], [`StoreError::DamagedRecord`].
    pub fn remove_ranks(&mut self, key: Key<'_>, view: View<'a>, ranks: Range<usize>) -> Result<(), StoreError> {
        let (count, kept) = (ranks.len(), view.len() - ranks.len());
        if count == 0 {
            return Ok(());
        }
        if kept == 0 {
            drop(view);
            return self.delete(key).map(drop);
        }
        let Some(records) = view.records() else {
            let names: Vec<&[u8]> = view.iter_from(ranks.start).take(count).map(|element| element.name()).collect();
            let mut set = self.edit(key, ObjectType::SortedSet)?;
            set.remove_all(names.into_iter());
            return set.finish();
        };
        if kept * REMOVED_FOR_KEPT <= count {
            return self.keep_others(key, view, &ranks);
        }
        let (tools, mut bytes, mut older) = (self.tools(), 0, Older::default());
        for element in view.iter_from(ranks.start).take(count) {
            let tombstone_bytes = object_record_bytes(8 + element.name().len(), 0);
            bytes += tombstone_bytes;
            let hash = with_element_key(records.id(), element.name(), |key| tools.hasher.hash(key));
            if tools.books.stale.count(hash) > 0 {
                older.bytes += tombstone_bytes;
                older.elements.push(element);
            }
        }
        let kept_bytes = kept * (bytes / count + size_of::<f64>());
        // A record must fit into a batch, in pools of tiny segments too.
        let most_bytes = self.store.pool.max_batch_bytes() as usize / 2;
        let bytes_of = |cuts: &Vec<Cut<'_>>| object_record_bytes(8, cuts.iter().map(Cut::encoded_bytes).sum());
        let cuts = cuts_with(&view, &ranks).filter(|cuts| bytes_of(cuts) <= most_bytes);
        let cut_bytes = cuts.as_ref().map_or(usize::MAX, |cuts| bytes_of(cuts) + older.bytes);
        if kept_bytes < bytes.min(cut_bytes) {
            return self.keep_others(key, view, &ranks);
        }
        if cut_bytes >= bytes {
            older.elements = view.iter_from(ranks.start).take(count).collect();
        }
        drop(view);
        let mut set = self.edit(key, ObjectType::SortedSet)?;
        if !mutant::active(Mutant::CutWithoutTombstones) || cut_bytes >= bytes {
            set.remove_all(older.elements.iter().map(Element::name));
        }
        if let Some(cuts) = cuts.filter(|_| cut_bytes < bytes) {
            set.cut(cuts, count - older.elements.len());
        }
        set.finish()
    }

    /// Makes a new set of all but the members at these ranks.
    fn keep_others(&mut self, key: Key<'_>, view: View<'a>, ranks: &Range<usize>) -> Result<(), StoreError> {
        let expire_at = view.entry().expire_at();
        let (Some(first), Some(last)) = (view.nth(ranks.start), view.nth(ranks.end - 1)) else { return Ok(()) };
        let place = |element: &Element<'a>| (element.score(), element.name());
        let is_kept = |element: &Element<'a>| place(element) < place(&first) || place(element) > place(&last);
        // In the order of the places that a scan counts down: so none that stays moves to where a scan has been.
        let kept: Vec<Element<'a>> = view.members_in(0..view.len()).filter(is_kept).collect();
        // The cleaner may wait for it, and the new set for the cleaner.
        drop(view);
        let mut set = self.edit_new(key, ObjectType::SortedSet, expire_at);
        for element in kept.into_iter().rev() {
            set.add(element.name(), element.value())?;
        }
        set.finish()
    }
}

/// Members that may have older records.
#[derive(Default)]
struct Older<'a> {
    elements: Vec<Element<'a>>,
    /// Of their tombstones.
    bytes: usize,
}

/// The cuts of a set once the members at these ranks are cut out as well; `None` if they are too many, or a name too long. The new one is the last, its
/// version is not set yet.
fn cuts_with<'a>(view: &View<'a>, ranks: &Range<usize>) -> Option<Vec<Cut<'a>>> {
    let place = |at: usize| view.nth(at).map(|element| (element.score(), element.name()));
    let is_short = |end: &Option<(f64, &[u8])>| end.is_none_or(|(_, name)| name.len() <= LONGEST_NAME);
    let first = if ranks.start > 0 { place(ranks.start) } else { None };
    let last = if ranks.end < view.len() { place(ranks.end - 1) } else { None };
    let new = Cut { version: u64::MAX, first, last };
    let mut cuts = view.cuts();
    cuts.retain(|former| !new.outdoes(former));
    cuts.push(new);
    (cuts.len() <= MOST_CUTS && is_short(&first) && is_short(&last)).then_some(cuts)
}

impl Collection {
    /// A cuts record has become durable: takes what its last range cuts out of the set.
    pub(super) fn cut_out(&mut self, tools: Tools<'_>, addr: LogAddr, record: &Record<'_>) -> Vec<LogAddr> {
        let (Shape::Sorted { members, order, cuts }, Some(all)) = (&mut self.shape, record.cuts()) else {
            return Vec::new();
        };
        let Some(cut) = all.last() else { return Vec::new() };
        let former = cuts.replace(addr);
        let from =
            cut.first.map_or(0, |(score, name)| order.partition_point(|other| is_before(tools, other, score, name)));
        let to = cut.last.map_or(order.len(), |(score, name)| {
            order.partition_point(|other| {
                is_before(tools, other, score, name)
                    || (other.score == score && name_of(&tools.record(other.addr)) == name)
            })
        });
        let removed = order.remove_range(from, to.saturating_sub(from));
        for element in &removed {
            if let Some(place) = members.find(tools.hash_at(element.addr), |other| other == element.addr) {
                members.remove(place, |addr| tools.hash_at(addr));
            }
        }
        if let Some(former) = former {
            tools.books.count_garbage(former, tools.record(former).bytes());
        }
        removed.into_iter().map(|element| element.addr).collect()
    }
}

/// Whether an element of a sorted set was cut out.
pub(super) fn is_cut_out(cuts: &[Cut<'_>], element: &Record<'_>) -> bool {
    let place = (score_of(element), name_of(element));
    cuts.iter().any(|cut| cut.covers(element.version, place))
}
