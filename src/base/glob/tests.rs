//! The matcher against a slow and obvious one, and against chosen corners.

use super::*;
use proptest::prelude::*;

/// The obvious definition: a star takes any number of bytes, tried one by one.
fn slow(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([], _) => false,
        // A star may match nothing, but only once some text has been matched before or is still left.
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
        (_, []) => false,
        (_, [byte, rest @ ..]) => {
            element(pattern, 0, *byte, |byte| byte).is_some_and(|after| slow(&pattern[after..], rest))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_match_is_what_trying_everything_finds(pattern in "[ab*?\\[\\]^\\\\-]{0,8}", text in "[ab\\-]{1,8}") {
        prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), slow(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn any_bytes_are_taken(pattern in proptest::collection::vec(any::<u8>(), 0..32), text in proptest::collection::vec(any::<u8>(), 0..32)) {
        let sensitive = matches(&pattern, &text);
        let escaped: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
        prop_assert!(matches(&escaped, &text), "an escaped text matches itself");
        if !pattern.contains(&b'[') && sensitive {
            prop_assert!(matches_ignoring_case(&pattern, &text));
        }
    }
}

#[test]
fn corners_are_those_of_redis() {
    let fits = [
        ("a*", "a"),
        ("a**", "a"),
        ("*a", "a"),
        ("h?llo", "hello"),
        ("h[ae]llo", "hallo"),
        ("h[^e]llo", "hallo"),
        ("h[a-b]llo", "hbllo"),
        ("h[b-a]llo", "hallo"),
        ("\\*", "*"),
        ("a\\", "a\\"),
        ("[a", "a"),
        ("[^", "x"),
        ("[\\]]", "]"),
        ("[a-]", "^"),
        ("[\\", "\\"),
        ("", ""),
        ("*b*d", "abcd"),
    ];
    for (pattern, text) in fits {
        assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
    }
    for (pattern, text) in [
        ("[a-]", "-"),
        ("[]a", "a"),
        ("h?llo", "hllo"),
        ("h[^e]llo", "hello"),
        ("*", ""),
        ("[", "a"),
        ("a", "A"),
        ("*a?", "a"),
    ] {
        assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
    }
    assert!(matches(b"[\x80-\x7f]", b"a") && matches(b"[a-\xff]", b"\x00"), "ranges compare signed bytes");
    assert!(matches_ignoring_case(b"MAX*[A-C]", b"maxb"));
}

/// Many stars over a long text that does not match: done in about 64 thousand steps, not 2^64.
#[test]
fn many_stars_cost_no_more_than_the_product_of_the_lengths() {
    let pattern = [b"a*".repeat(64), b"b".to_vec()].concat();
    assert!(!matches(&pattern, &b"a".repeat(1000)));
}
