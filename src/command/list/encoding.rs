//! What OBJECT ENCODING says of a list.

use crate::command::Settings;
use crate::command::parse::integer;
use crate::store::View;

/// Bytes that a packed list has beside its entries.
const PACKED_OVERHEAD: usize = 7;

/// Sizes in bytes that `list-max-listpack-size` stands for when it is -1, -2 and so on.
const SIZES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];

/// However many elements a packed list may have, it is never larger.
const MOST_BYTES: usize = 8 << 10;

/// `listpack` when Redis would keep the list in one packed piece, by `list-max-listpack-size`; else `quicklist`. Looks at no more elements than fit
/// one.
pub(in crate::command) fn encoding(view: &View<'_>, settings: &Settings) -> &'static str {
    let limit = settings.get("list-max-listpack-size").unwrap_or_default();
    let limit: i64 = std::str::from_utf8(&limit).ok().and_then(|text| text.parse().ok()).unwrap_or(-2);
    let (most_bytes, most) = match usize::try_from(limit) {
        Ok(most) => (MOST_BYTES, most),
        Err(_) => (SIZES[(limit.unsigned_abs() as usize).min(SIZES.len()) - 1], usize::MAX),
    };
    // One that has been longer goes back to one piece when it is down to half of what fits.
    let most = if view.extent().most > most { most / 2 } else { most };
    let mut bytes = PACKED_OVERHEAD;
    let fits = view.len() <= most
        && view.iter_from(0).all(|element| {
            bytes += packed_bytes(element.value());
            bytes <= most_bytes
        });
    if fits { "listpack" } else { "quicklist" }
}

/// Bytes that an element takes in a packed list: a header with its length or type, itself, and its length once more, for the way back.
fn packed_bytes(value: &[u8]) -> usize {
    let bytes = match integer(value) {
        Some(0..=127) => 1,
        Some(-4096..=4095) => 2,
        Some(-0x8000..=0x7fff) => 3,
        Some(-0x80_0000..=0x7f_ffff) => 4,
        Some(-0x8000_0000..=0x7fff_ffff) => 5,
        Some(_) => 9,
        None => match value.len() {
            len @ 0..64 => 1 + len,
            len @ 64..4096 => 2 + len,
            len => 5 + len,
        },
    };
    let way_back = match bytes {
        0..128 => 1,
        128..16_384 => 2,
        _ => 3,
    };
    bytes + way_back
}
