//! Glob patterns as KEYS, SCAN and CONFIG GET take them.
//!
//! `*` any bytes, `?` one byte, `[a-z]` and `[^a-z]` one byte of a class, `\x` the byte `x` itself. Every element but `*` takes
//! exactly one byte, so when what follows a star does not fit, only the latest star needs to be tried further on: the time is at
//! most the product of the two lengths, whatever the pattern.
//!
//! Corners that clients may rely on, as Redis has them: a class that is not closed ends with the pattern; the ends of a range may
//! come in either order and compare as signed bytes; a final lone `\` stands for itself; nothing but the empty pattern matches the
//! empty string.

/// Whether `text` matches `pattern`, case and all.
#[inline]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    glob(pattern, text, |byte| byte)
}

/// Whether `text` matches `pattern` when ASCII letters of either case are equal.
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    glob(pattern, text, |byte| byte.to_ascii_lowercase())
}

fn glob(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    let (mut p, mut t) = (0, 0);
    // What to try again when the elements after the latest star do not fit: the pattern behind it, the text it was tried on.
    let mut retry: Option<(usize, usize)> = None;
    // Ends: each turn moves `t` on, or ends, or goes back to a start in the text that is one further than the last.
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += pattern[p..].iter().take_while(|&&byte| byte == b'*').count();
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            continue;
        }
        if let Some(after) = element(pattern, p, text[t], fold) {
            (p, t) = (after, t + 1);
            continue;
        }
        let Some((star, start)) = retry else { return false };
        (p, t) = (star, start + 1);
        retry = Some((p, t));
    }
    if text.is_empty() {
        return pattern.is_empty();
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Where the pattern goes on when the element at `p`, no star, fits `byte`.
#[inline]
fn element(pattern: &[u8], p: usize, byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => class(pattern, p + 1, byte, fold),
        b'\\' if p + 1 < pattern.len() => (fold(pattern[p + 1]) == fold(byte)).then_some(p + 2),
        own => (fold(own) == fold(byte)).then_some(p + 1),
    }
}

/// The same for the class whose `[` is just before `p`.
fn class(pattern: &[u8], mut p: usize, byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    // Ends: each turn moves `p` on.
    while let Some(&own) = pattern.get(p) {
        match (own, &pattern[p + 1..]) {
            // As in Redis, an escaped byte compares with its case even where others do not.
            (b'\\', [escaped, ..]) => {
                found |= *escaped == byte;
                p += 2;
            }
            (b']', _) => {
                p += 1;
                break;
            }
            (low, [b'-', high, ..]) => {
                let (a, b, byte) = (fold(low) as i8, fold(*high) as i8, fold(byte) as i8);
                found |= (a.min(b)..=a.max(b)).contains(&byte);
                p += 3;
            }
            (own, _) => {
                found |= fold(own) == fold(byte);
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

#[cfg(test)]
mod tests;
