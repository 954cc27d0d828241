//! A picture of how full a pool is, for a terminal: a character for each segment, or for a few, and how many segments are how full.

use std::fmt::Write;

/// What a segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentState {
    /// Holds nothing.
    Free,
    /// Is appended to, or was when the last server ended.
    Open,
    /// Holds records, and nothing more is appended.
    Full,
    /// Something in it does not validate.
    Damaged,
}

/// A segment, as far as the picture goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentView {
    /// What it is.
    pub state: SegmentState,
    /// Bytes of records in it that are in use.
    pub live_bytes: u64,
}

/// Characters that the output can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charset {
    /// Anything that UTF-8 can express.
    Utf8,
    /// Nothing but ASCII.
    Ascii,
}

/// The shades: nothing live, then less than 25, 50, 75 and 100 per cent.
const SHADES: usize = 5;

/// How many characters a line has, and how many lines there are at most.
const COLUMNS: usize = 64;
const LINES_MAX: usize = 16;

/// The longest bar of the histogram, in characters.
const BAR_MAX: usize = 40;

impl Charset {
    fn shades(self) -> [char; SHADES] {
        match self {
            Charset::Utf8 => [' ', '░', '▒', '▓', '█'],
            Charset::Ascii => [' ', '-', '+', '*', '#'],
        }
    }
}

/// Which shade stands for `live_bytes` of `bytes`.
fn shade(live_bytes: u64, bytes: u64) -> usize {
    let quarters = u128::from(live_bytes) * 4 / u128::from(bytes.max(1));
    if live_bytes == 0 { 0 } else { 1 + quarters.min(3) as usize }
}

/// The character of segments that share one: the state that asks for the most attention, or how much of them all is live.
fn cell(segments: &[SegmentView], segment_bytes: u64, charset: Charset) -> char {
    let any = |state| segments.iter().any(|segment| segment.state == state);
    if any(SegmentState::Damaged) {
        '!'
    } else if any(SegmentState::Open) {
        'o'
    } else if !any(SegmentState::Full) {
        '.'
    } else {
        let live = segments.iter().map(|segment| segment.live_bytes).sum();
        charset.shades()[shade(live, segment_bytes * segments.len() as u64)]
    }
}

/// The picture: a legend, the map of at most 64 by 16 characters, and a histogram. Ends with a line break.
pub fn draw(segments: &[SegmentView], segment_bytes: u64, charset: Charset) -> String {
    let per_cell = segments.len().div_ceil(COLUMNS * LINES_MAX).max(1);
    let cells: Vec<char> = segments.chunks(per_cell).map(|segments| cell(segments, segment_bytes, charset)).collect();
    let mut text = String::new();
    let each = if per_cell == 1 { "a segment".to_owned() } else { format!("{per_cell} segments") };
    let [none, quarter, half, most, all] = charset.shades();
    let _ = writeln!(text, "each character is {each}: . free, o open, ! damaged, else by what is live of it:");
    let _ = writeln!(text, "'{none}' nothing, '{quarter}' < 25 %, '{half}' < 50 %, '{most}' < 75 %, '{all}' < 100 %");
    for line in cells.chunks(COLUMNS) {
        let _ = writeln!(text, "|{}|", line.iter().collect::<String>());
    }
    let mut counts = [0u64; SHADES];
    for segment in segments.iter().filter(|segment| segment.state != SegmentState::Free) {
        counts[shade(segment.live_bytes, segment_bytes)] += 1;
    }
    let most = counts.into_iter().max().unwrap_or(0).max(1);
    let _ = writeln!(text, "segments in use, by what is live of them:");
    for (name, count) in ["0 %", "< 25 %", "< 50 %", "< 75 %", "< 100 %"].into_iter().zip(counts) {
        // Whoever is there is seen.
        let bar = (count as usize * BAR_MAX).div_ceil(most as usize);
        let _ = writeln!(text, "{}", format!("{name:>7} {count:>8} {}", "#".repeat(bar)).trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 1000;

    fn full(live_bytes: u64) -> SegmentView {
        SegmentView { state: SegmentState::Full, live_bytes }
    }

    fn of(state: SegmentState) -> SegmentView {
        SegmentView { state, live_bytes: 0 }
    }

    /// The lines of the map without their frames.
    fn map(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')).collect()
    }

    #[test]
    fn a_segment_is_a_character() {
        let segments = [
            of(SegmentState::Free),
            of(SegmentState::Open),
            of(SegmentState::Damaged),
            full(0),
            full(1),
            full(249),
            full(250),
            full(500),
            full(749),
            full(750),
            full(1000),
        ];
        let text = draw(&segments, BYTES, Charset::Ascii);
        assert_eq!(
            text,
            "each character is a segment: . free, o open, ! damaged, else by what is live of it:\n\
             ' ' nothing, '-' < 25 %, '+' < 50 %, '*' < 75 %, '#' < 100 %\n\
             |.o! --+**##|\n\
             segments in use, by what is live of them:\n\
             \u{20}   0 %        3 ########################################\n\
             \u{20}< 25 %        2 ###########################\n\
             \u{20}< 50 %        1 ##############\n\
             \u{20}< 75 %        2 ###########################\n\
             < 100 %        2 ###########################\n"
        );
        assert_eq!(map(&draw(&segments, BYTES, Charset::Utf8)), [".o! ░░▒▓▓██"]);
        assert!(text.is_ascii());
    }

    #[test]
    fn a_large_pool_has_several_segments_in_a_character() {
        let mut segments = vec![of(SegmentState::Free); 1024];
        assert_eq!(map(&draw(&segments, BYTES, Charset::Ascii)), vec![".".repeat(64); 16], "one each just fits");
        // Three to each from here on.
        segments.resize(3 * 1024, full(400));
        segments[3000].state = SegmentState::Open;
        segments[3001].state = SegmentState::Damaged;
        segments[3004].state = SegmentState::Open;
        segments[1022] = full(900);
        let text = draw(&segments, BYTES, Charset::Ascii);
        assert!(text.starts_with("each character is 3 segments"), "{text}");
        let cells: String = map(&text).concat();
        assert_eq!((cells.len(), map(&text).len()), (1024, 16));
        assert_eq!(&cells[339..343], ".+++", "900 of 3000, 400 of 3000 and 1200 of 3000");
        assert_eq!(&cells[999..1003], "+!o+");
    }

    #[test]
    fn what_cannot_be_does_no_harm() {
        assert_eq!(map(&draw(&[], 0, Charset::Utf8)), [""; 0]);
        assert_eq!(map(&draw(&[full(u64::MAX / 4), full(7)], 4, Charset::Ascii)), ["##"]);
        assert_eq!(map(&draw(&vec![full(0); 65], 4, Charset::Ascii)), [" ".repeat(64), " ".to_owned()]);
    }
}
