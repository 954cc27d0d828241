//! Decompression of LZF, which Redis uses for strings of more than 20 bytes.
//!
//! A control byte below 32 is followed by that many plus one literal bytes. Any other starts a copy from what has been
//! decompressed: its high three bits are the length minus two (7: another byte is added), its low five bits and the next byte the
//! distance minus one.

/// Most bytes that one byte of input can stand for, rounded up: a copy of 264 bytes takes three.
const MAX_EXPANSION: usize = 88;

/// The `len` bytes that `input` stands for; `None` when it stands for anything else.
pub(super) fn decompress(mut input: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > input.len().checked_mul(MAX_EXPANSION)? {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    // Ends: each turn takes at least one byte of the input.
    while let Some((&control, rest)) = input.split_first() {
        let control = usize::from(control);
        if control < 32 {
            let (literal, rest) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(literal);
            input = rest;
        } else {
            let (&more, rest) = rest.split_first()?;
            let (length, low, rest) = if control >> 5 == 7 {
                let (&low, rest) = rest.split_first()?;
                (9 + usize::from(more), low, rest)
            } else {
                ((control >> 5) + 2, more, rest)
            };
            copy_back(&mut out, ((control & 0x1f) << 8 | usize::from(low)) + 1, length)?;
            input = rest;
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Appends `length` bytes from `distance` back; they may overlap what is being appended.
fn copy_back(out: &mut Vec<u8>, distance: usize, length: usize) -> Option<()> {
    let from = out.len().checked_sub(distance)?;
    if distance >= length {
        out.extend_from_within(from..from + length);
    } else {
        for i in from..from + length {
            out.push(out[i]);
        }
    }
    Some(())
}

#[test]
fn literals_and_copies_are_joined() {
    assert_eq!(decompress(b"\x02abc\x20\x02\x20\x00", 9).as_deref(), Some(&b"abcabcccc"[..]));
    // A long copy: 100 times one byte.
    assert_eq!(decompress(b"\x00x\xe0\x5a\x00", 100), Some(vec![b'x'; 100]));
}

#[test]
fn damaged_input_is_refused() {
    for (input, len) in [
        (&b"\x02ab"[..], 3),
        (b"\x20", 3),
        (b"\x00a\x20\x01", 4),
        (b"\x00a", 2),
        (b"\x02abc", 2),
        (b"\xe0", 9),
        (b"\x00a", usize::MAX),
        (b"", 1),
    ] {
        assert_eq!(decompress(input, len), None, "{input:?}");
    }
}
