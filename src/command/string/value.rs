//! What the string, bitmap and HyperLogLog commands share: looking a string up, copying it out once, its length limit.

use crate::command::Shared;
use crate::command::{CommandError, Ctx};
use crate::protocol::{ReplyWriter, limits};
use crate::store::{Entry, INLINE_MAX_BYTES, Key, StrValue, Txn};
use bytes::BufMut;
use std::borrow::Cow;
use std::ops::Range;

/// The string at `name`, read without a lock.
///
/// # Errors
/// `WRONGTYPE` when the key holds another type.
#[inline]
pub fn read<'g>(ctx: &Ctx<'g>, name: &[u8]) -> Result<Option<StrValue<'g>>, CommandError> {
    string_of(ctx.lookup(name))
}

/// The string that an entry holds, if there is an entry.
///
/// # Errors
/// `WRONGTYPE` when it holds another type.
#[inline]
pub fn string_of(entry: Option<Entry<'_>>) -> Result<Option<StrValue<'_>>, CommandError> {
    match entry {
        Some(entry) => Ok(Some(entry.string()?)),
        None => Ok(None),
    }
}

/// The string at `key` as it was before the transaction.
///
/// # Errors
/// `WRONGTYPE` when the key holds another type.
#[inline]
pub fn locked<'a>(txn: &Txn<'a>, key: Key<'_>) -> Result<Option<StrValue<'a>>, CommandError> {
    string_of(txn.get(key))
}

/// Replies with a value, copied once from the pool into the output.
#[inline]
pub fn reply(reply: &mut ReplyWriter<'_>, value: StrValue<'_>) {
    let len = value.len();
    reply.bulk_header(len);
    let out = reply.raw();
    // One growth of the buffer instead of several, the line's end included.
    out.reserve(len + 2);
    for piece in value.pieces() {
        out.put_slice(piece);
    }
    reply.bulk_end();
}

/// Replies with a value, or with null when there is none.
#[inline]
pub fn reply_or_null(reply_to: &mut ReplyWriter<'_>, value: Option<StrValue<'_>>) {
    match value {
        Some(value) => reply(reply_to, value),
        None => reply_to.null(),
    }
}

/// Calls `visit` with the bytes of `range`, which lies within the value, piece by piece; stops when it returns false.
pub fn visit<'g>(value: StrValue<'g>, range: Range<usize>, mut visit: impl FnMut(&[u8]) -> bool) {
    if range.len() <= INLINE_MAX_BYTES {
        // At most two pieces: the store goes straight to them.
        let bytes: Cow<'g, [u8]> = value.range(range.start, range.end);
        visit(&bytes);
        return;
    }
    let mut at = 0;
    for piece in value.pieces() {
        let start = range.start.max(at);
        let end = range.end.min(at + piece.len());
        if start < end && !visit(&piece[start - at..end - at]) {
            return;
        }
        at += piece.len();
        if at >= range.end {
            return;
        }
    }
}

/// Stages `bytes`, made by the caller while it holds the stripes, under `key`.
///
/// # Errors
/// When the pool has no room.
pub fn set(txn: &mut Txn<'_>, key: Key<'_>, bytes: &[u8], expire_at: Option<u64>) -> Result<(), CommandError> {
    let value = txn.prepare(bytes)?;
    Ok(txn.set(key, value, expire_at)?)
}

/// The longest that a string may get, in bytes: `proto-max-bulk-len`, within what the store is made for.
pub fn max_bytes(shared: &Shared) -> usize {
    shared.settings.max_bulk_bytes().min(limits::MAX_BULK_BYTES)
}

/// Checks that a string may grow to `start + added` bytes.
///
/// # Errors
/// Redis's error when that is more than [`max_bytes`].
pub fn check_length(shared: &Shared, start: usize, added: usize) -> Result<(), CommandError> {
    match start.checked_add(added) {
        Some(total) if total <= max_bytes(shared) => Ok(()),
        _ => Err(CommandError::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)")),
    }
}
