//! DEBUG DIGEST and DIGEST-VALUE: 40 hexadecimal digits that are equal for equal content.
//!
//! They are not Redis's digits. Each key contributes a hash of its database, name, value and whether it expires; the contributions
//! are combined by exclusive or, so that order does not matter. On a server that is written to meanwhile the result means nothing.

use crate::command::{CommandError, Ctx};
use crate::protocol::Args;
use crate::store::{Entry, Store, StoreError};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13Of128};
use std::hash::Hasher;

/// 160 bits.
#[derive(Clone, Copy, Default)]
struct Digest {
    high: u128,
    low: u32,
}

impl Digest {
    fn of(parts: &[&[u8]]) -> Self {
        let (mut wide, mut narrow) = (SipHasher13Of128::new(), SipHasher13::new());
        for part in parts {
            for hasher in [&mut wide as &mut dyn Hasher, &mut narrow] {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
        }
        Self { high: wide.finish128().as_u128(), low: narrow.finish() as u32 }
    }

    fn combine(&mut self, other: Self) {
        self.high ^= other.high;
        self.low ^= other.low;
    }

    fn digits(self) -> String {
        format!("{:032x}{:08x}", self.high, self.low)
    }
}

fn of_value(store: &Store, entry: &Entry<'_>, now_ms: u64) -> Result<Digest, StoreError> {
    let expires: &[u8] = if entry.expire_at().is_some() { b"!" } else { b"" };
    let kind = entry.type_name();
    if !entry.is_collection() {
        return Ok(Digest::of(&[kind.as_bytes(), &entry.string()?.bytes(), expires]));
    }
    // Of lists the place counts, of others only what there is.
    let mut digest = Digest::of(&[kind.as_bytes(), expires]);
    for (place, element) in store.view(*entry, now_ms)?.iter().enumerate() {
        let place = place.to_le_bytes();
        let name = if kind == "list" { &place[..] } else { element.name() };
        let expires: &[u8] = if element.expire_at().is_some() { b"!" } else { b"" };
        digest.combine(Digest::of(&[name, element.value(), expires]));
    }
    Ok(digest)
}

pub(super) fn of_all(ctx: &mut Ctx<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let mut digest = Digest::default();
    for db in 0..ctx.store.databases() {
        let mut cursor = 0;
        let mut failure = None;
        // Ends: the store's cursor comes round to 0.
        loop {
            cursor = ctx.store.scan(db, cursor, ctx.now_ms, ctx.guard, &mut |entry| match of_value(
                ctx.store, &entry, ctx.now_ms,
            ) {
                Ok(value) => digest.combine(Digest::of(&[
                    &db.to_le_bytes(),
                    entry.key(),
                    &value.high.to_le_bytes(),
                    &value.low.to_le_bytes(),
                ])),
                Err(error) => failure = Some(error),
            });
            if cursor == 0 {
                break;
            }
        }
        if let Some(error) = failure {
            return Err(error.into());
        }
    }
    ctx.reply.simple(&digest.digits());
    Ok(())
}

pub(super) fn of_keys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.reply.array_header(args.from(2).len());
    for name in args.from(2).iter() {
        let digest = match ctx.store.peek(ctx.key(name), ctx.now_ms, ctx.guard) {
            Some(entry) => of_value(ctx.store, &entry, ctx.now_ms)?,
            None => Digest::default(),
        };
        ctx.reply.simple(&digest.digits());
    }
    Ok(())
}
