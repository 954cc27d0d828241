//! Changing a list.
//!
//! A packed list (`pack.rs`) is changed by positions, and written again as a whole. In one of element records each element has a label, and the list is in the order of labels. The ends grow in steps of [`LABEL_STEP`], so that there is room between two
//! elements for others; where it is used up a few neighbours get new labels.
//!
//! What is cut off at the ends is told by one bounds record: no element outside is there whose record is older. That is enough, as any label that is a
//! whole number of steps gets a newer record before the bounds can reach beyond it: it is given out again, or, where new labels of neighbours pass it
//! over, it gets a tombstone. Elements between two steps are removed by tombstones, always.

use super::{Edit, Element, LABEL_STEP, is_whole};
use crate::base::mutant::{self, Mutant};
use crate::log::{Kind, ObjectType};
use crate::store::txn::Txn;
use crate::store::{Key, StoreError};
use std::ops::Range;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head, where positions start.
    Left,
    /// The tail.
    Right,
}

/// A change of a list in a transaction, as [`Edit`] is one of other collections. First removing, then pushing; of the others one at a time.
pub struct ListEdit<'t, 'a> {
    edit: Edit<'t, 'a>,
    /// What is left of the list before the transaction: positions `from..to` of it.
    from: usize,
    to: usize,
    /// The labels at the ends of what was pushed.
    left: Option<i64>,
    right: Option<i64>,
    pushed: usize,
    removed: usize,
    cut: bool,
    /// Positions that were cut off last, so that nothing was left: if something is pushed, what lies between steps there needs its tombstones.
    emptied: Range<usize>,
    /// Positions of a packed list that are removed, one bit each.
    holes: u64,
    /// Whether it was packed, and is not any more: then its labels begin at 0.
    unpacked: bool,
}

impl<'a> Txn<'a> {
    /// Begins to change the list at `key`, which is made when the key is absent.
    ///
    /// # Errors
    /// As [`Txn::edit`].
    pub fn list<'t>(&'t mut self, key: Key<'t>) -> Result<ListEdit<'t, 'a>, StoreError> {
        let edit = self.edit(key, ObjectType::List)?;
        Ok(ListEdit::new(edit))
    }

    /// Begins to make a list that takes the place of whatever is at `key`.
    pub fn list_new<'t>(&'t mut self, key: Key<'t>, expire_at: Option<u64>) -> ListEdit<'t, 'a> {
        ListEdit::new(self.edit_new(key, ObjectType::List, expire_at))
    }
}

impl<'t, 'a> ListEdit<'t, 'a> {
    pub(super) fn new(edit: Edit<'t, 'a>) -> Self {
        let to = edit.len();
        Self {
            edit,
            from: 0,
            to,
            left: None,
            right: None,
            pushed: 0,
            removed: 0,
            cut: false,
            emptied: 0..0,
            holes: 0,
            unpacked: false,
        }
    }

    /// Elements there will be.
    pub fn len(&self) -> usize {
        self.to - self.from + self.pushed - self.removed
    }

    /// Whether there will be none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The list before the transaction.
    pub fn base(&self) -> Option<&super::View<'a>> {
        self.edit.base()
    }

    fn label(&self, at: usize) -> i64 {
        if self.unpacked {
            return at as i64 * LABEL_STEP;
        }
        self.edit.base().and_then(|view| view.label(at)).unwrap_or_default()
    }

    /// Puts an element at a position of a packed list, or replaces the one there. False, and nothing is put: it is not packed, or no longer.
    fn put_packed(&mut self, at: usize, replaces: bool, value: &[u8]) -> Result<bool, StoreError> {
        if self.edit.pack.is_none() || self.edit.put_packed_at(at, replaces, value) {
            return Ok(self.edit.pack.is_some());
        }
        let len = self.len();
        self.edit.unpack()?;
        (self.from, self.to, self.pushed, self.cut, self.unpacked) = (0, len, 0, false, true);
        Ok(false)
    }

    fn put(&mut self, label: i64, value: &[u8]) -> Result<(), StoreError> {
        self.edit.stage_unhashed(Kind::Element, &label.to_le_bytes(), value);
        self.edit.takes_room();
        self.edit.spill()
    }

    fn bury(&mut self, label: i64) {
        self.edit.stage_unhashed(Kind::ElementTombstone, &label.to_le_bytes(), &[]);
    }

    /// Adds an element at an end. Cost: its record.
    ///
    /// # Errors
    /// As [`Edit::put`].
    pub fn push(&mut self, end: End, value: &[u8]) -> Result<(), StoreError> {
        let at = if end == End::Left { 0 } else { self.len() };
        if self.put_packed(at, false, value)? {
            self.pushed += 1;
            return Ok(());
        }
        let label = match self.end_label(end) {
            Some(label) if end == End::Left => {
                label.div_euclid(LABEL_STEP) * LABEL_STEP - LABEL_STEP * i64::from(is_whole(label))
            }
            Some(label) => label.div_euclid(LABEL_STEP) * LABEL_STEP + LABEL_STEP,
            // Nothing is left to go by. The label of one that is gone is whole and within what the bounds will be.
            None => self.label(0).div_euclid(LABEL_STEP) * LABEL_STEP,
        };
        match end {
            End::Left => self.left = Some(label),
            End::Right => self.right = Some(label),
        }
        self.pushed += 1;
        self.put(label, value)
    }

    /// The label of the element at an end, if there is one.
    fn end_label(&self, end: End) -> Option<i64> {
        let is_left = self.from < self.to;
        let (near, own, far) = match end {
            End::Left => (self.left, self.from, self.right_first()),
            End::Right => (self.right, self.to.wrapping_sub(1), self.left_last()),
        };
        near.or_else(|| is_left.then(|| self.label(own))).or(far)
    }

    /// Of pushed elements alone: where those of the other end begin.
    fn right_first(&self) -> Option<i64> {
        self.right.map(|right| right - LABEL_STEP * (self.pushed as i64 - 1))
    }

    fn left_last(&self) -> Option<i64> {
        self.left.map(|left| left + LABEL_STEP * (self.pushed as i64 - 1))
    }

    /// Removes the element at an end. Cost: one bounds record for all of a transaction.
    pub fn pop(&mut self, end: End) -> Option<Element<'a>> {
        if self.from == self.to {
            return None;
        }
        let at = match end {
            End::Left => self.from,
            End::Right => self.to - 1,
        };
        let element = self.edit.base().and_then(|view| view.nth(at))?;
        match end {
            End::Left => self.cut(self.from + 1, self.to),
            End::Right => self.cut(self.from, self.to - 1),
        }
        Some(element)
    }

    /// Removes all but the elements at the positions `from..to`. Cost: one bounds record.
    pub fn trim(&mut self, from: usize, to: usize) {
        self.cut(from.min(self.to), to.min(self.to));
    }

    fn cut(&mut self, from: usize, to: usize) {
        match from < to {
            true => self.bury_fractions((self.from..from).chain(to..self.to)),
            false => self.emptied = self.from..self.to,
        }
        let cuts = (self.from, self.to) != (from, to);
        if cuts && let Some(pack) = self.edit.shorten() {
            pack.keep(from - self.from..to.max(from) - self.from);
        }
        self.cut |= cuts;
        (self.from, self.to) = if from < to { (from, to) } else { (from, from) };
    }

    /// Bounds say nothing of elements between two steps.
    fn bury_fractions(&mut self, positions: impl Iterator<Item = usize>) {
        if self.edit.base().is_some_and(|view| view.extent().has_fractions) {
            for label in positions.map(|at| self.label(at)).filter(|label| !is_whole(*label)).collect::<Vec<_>>() {
                self.bury(label);
            }
        }
    }

    /// Gives the element at a position another value. Cost: its record.
    ///
    /// # Errors
    /// As [`Edit::put`].
    pub fn set(&mut self, at: usize, value: &[u8]) -> Result<(), StoreError> {
        if self.put_packed(at, true, value)? {
            return Ok(());
        }
        self.put(self.label(at), value)
    }

    /// Removes the element at a position. Cost: a tombstone.
    pub fn remove(&mut self, at: usize) {
        self.removed += 1;
        if self.edit.shorten().is_some() {
            self.holes |= 1 << at;
            return;
        }
        self.bury(self.label(at));
    }

    /// Inserts an element before the one at position `at`, which may be the end. Cost: its record; where the labels between its neighbours are used
    /// up, a few records more.
    ///
    /// # Errors
    /// As [`Edit::put`].
    pub fn insert(&mut self, at: usize, value: &[u8]) -> Result<(), StoreError> {
        if at == 0 || at >= self.to {
            return self.push(if at == 0 { End::Left } else { End::Right }, value);
        }
        if self.put_packed(at, false, value)? {
            self.pushed += 1;
            return Ok(());
        }
        self.pushed += 1;
        let (before, after) = (self.label(at - 1), self.label(at));
        if after - before >= 2 {
            return self.put(before + (after - before) / 2, value);
        }
        self.relabel(at, value)
    }

    /// Gives the neighbours of position `at`, and a new element there, labels with room between them.
    fn relabel(&mut self, at: usize, value: &[u8]) -> Result<(), StoreError> {
        /// Room that each is to have.
        const ROOM: i64 = 16;
        let mut reach = 4;
        // Ends: at both ends of the list there is room without limit.
        let (from, to, low, high) = loop {
            let (from, to) = (at.saturating_sub(reach), (at + reach).min(self.to));
            let count = (to - from + 2) as i64;
            let low = if from == 0 { self.label(0) - LABEL_STEP * count } else { self.label(from - 1) };
            let high = if to == self.to { self.label(to - 1) + LABEL_STEP * count } else { self.label(to) };
            if high - low >= ROOM * count {
                break (from, to, low, high);
            }
            reach *= 2;
        };
        let count = to - from + 1;
        let room = (high - low) / (count as i64 + 1);
        // Never a whole step: those belong to what is pushed at the ends.
        let label_of = |number: usize| {
            let label = low + room * (number as i64 + 1);
            label + i64::from(is_whole(label))
        };
        let old: Vec<i64> = (from..to).map(|at| self.label(at)).collect();
        let elements: Vec<Element<'a>> = match self.edit.base() {
            Some(view) => view.iter_from(from).take(to - from).collect(),
            None => Vec::new(),
        };
        let mut values: Vec<&[u8]> = elements.iter().map(Element::value).collect();
        values.insert(at - from, value);
        let new: Vec<i64> = (0..count).map(label_of).collect();
        for (label, value) in new.iter().zip(values) {
            self.put(*label, value)?;
        }
        for &label in old.iter().filter(|label| new.binary_search(label).is_err()) {
            self.bury(label);
        }
        if mutant::active(Mutant::PassedOverNotBuried) {
            return Ok(());
        }
        // Elements may have been there once, and been cut off.
        let ends = [(from == 0, new[0], old[0]), (to == self.to, old[to - from - 1], new[count - 1])];
        for (_, low, high) in ends.into_iter().filter(|(is_end, ..)| *is_end) {
            for step in low.div_euclid(LABEL_STEP) + 1..=(high - 1).div_euclid(LABEL_STEP) {
                self.bury(step * LABEL_STEP);
            }
        }
        Ok(())
    }

    /// As [`Edit::finish`].
    ///
    /// # Errors
    /// None today.
    pub fn finish(mut self) -> Result<(), StoreError> {
        let len = self.len();
        if let Some(pack) = &mut self.edit.pack {
            (0..u64::BITS as usize).rev().filter(|at| self.holes >> at & 1 == 1).for_each(|at| pack.remove_at(at));
        } else if self.cut
            && len > 0
            && let (Some(first), Some(last)) = (self.end_label(End::Left), self.end_label(End::Right))
        {
            let emptied = self.emptied.clone();
            self.bury_fractions(emptied);
            let bounds = [first.to_le_bytes(), last.to_le_bytes()].concat();
            self.edit.stage_unhashed(Kind::Bounds, &[], &bounds);
        }
        self.edit.set_len(len);
        self.edit.finish()
    }
}
