//! Storing a result as a sorted set.

use super::score::stored;
use crate::log::ObjectType;
use crate::store::{Key, StoreError, Txn};

/// Stages these members, all different, as the sorted set at `target`, in place of whatever is there; no member stages its end. Says whether
/// something is there.
///
/// # Errors
/// [`StoreError::OutOfSpace`].
pub fn members<'m>(
    txn: &mut Txn<'_>,
    target: Key<'_>,
    members: impl Iterator<Item = (&'m [u8], f64)>,
) -> Result<bool, StoreError> {
    let was_there = txn.peek(target).is_some();
    let mut result = txn.edit_new(target, ObjectType::SortedSet, None);
    for (member, score) in members {
        result.add(member, &stored(score))?;
    }
    result.finish()?;
    Ok(was_there)
}
