//! What values a setting takes: text to canonical text, with Redis's words for what is wrong.

use std::time::Duration;

/// The form of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// A whole number in a range.
    Int {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// Bytes, with or without a suffix; printed without.
    Size {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// Bytes, or a percentage.
    SizeOrPercent,
    /// A file mode.
    Octal,
    /// Any bytes.
    Text,
    /// Any words, one blank between two.
    Words,
    /// Numbers from 0 to 100.
    Percentiles,
    /// One of these words.
    Enum(&'static [&'static str]),
    /// `class hard soft seconds`, for some of the classes.
    OutputLimits,
    /// `seconds changes` pairs, or nothing.
    SavePoints,
    /// Letters of event classes.
    KeyspaceEvents,
}

/// How much may wait to be sent to a client before it is closed. 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Closed at once above this.
    pub hard_bytes: u64,
    /// Closed when above this for `soft_for`.
    pub soft_bytes: u64,
    /// How long it may stay above `soft_bytes`.
    pub soft_for: Duration,
}

/// A number with an optional memory suffix, as Redis reads it: `b`, `k` `m` `g` in steps of 1000, `kb` `mb` `gb` in steps of 1024.
pub fn size(text: &str) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1024,
        "m" => 1000 * 1000,
        "mb" => 1024 * 1024,
        "g" => 1000 * 1000 * 1000,
        "gb" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Names of the classes in the order they are printed; what Redis calls `slave` has no clients here.
const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

/// Hard, soft and seconds for normal and pubsub clients from the canonical text.
pub(super) fn output_limits(canonical: &str) -> [[u64; 3]; 2] {
    let all = parse_output_limits(canonical, [[0; 3]; 3]).unwrap_or_default();
    [all[0], all[2]]
}

fn parse_output_limits(text: &str, mut limits: [[u64; 3]; 3]) -> Result<[[u64; 3]; 3], String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    for group in words.chunks_exact(4) {
        let class = match group[0].to_ascii_lowercase().as_str() {
            "normal" => 0,
            "slave" | "replica" => 1,
            "pubsub" => 2,
            _ => return Err("Invalid client class specified in buffer limit configuration.".to_owned()),
        };
        let bad = || "Error in hard, soft or soft_seconds setting in buffer limit configuration.".to_owned();
        limits[class] = [
            size(group[1]).ok_or_else(bad)?,
            size(group[2]).ok_or_else(bad)?,
            group[3].parse::<u32>().map(u64::from).map_err(|_| bad())?,
        ];
    }
    Ok(limits)
}

fn print_output_limits(limits: [[u64; 3]; 3]) -> String {
    let parts: Vec<String> =
        CLASSES.iter().zip(limits).map(|(name, [hard, soft, secs])| format!("{name} {hard} {soft} {secs}")).collect();
    parts.join(" ")
}

fn in_range(value: i64, min: i64, max: i64) -> Result<Vec<u8>, String> {
    if (min..=max).contains(&value) {
        Ok(value.to_string().into_bytes())
    } else {
        Err(format!("argument must be between {min} and {max} inclusive"))
    }
}

impl Kind {
    /// Whether a directive of a configuration file may give it several words.
    pub fn takes_words(self) -> bool {
        matches!(self, Kind::Words | Kind::Percentiles | Kind::OutputLimits | Kind::SavePoints)
    }

    /// The canonical form of `value`, given the setting's `current` one.
    ///
    /// # Errors
    /// What is wrong with it, in Redis's words.
    pub fn canonical(self, value: &[u8], current: &[u8]) -> Result<Vec<u8>, String> {
        if self == Kind::Text {
            return Ok(value.to_vec());
        }
        let text = std::str::from_utf8(value).unwrap_or("\u{fffd}");
        match self {
            Kind::Text => Ok(value.to_vec()),
            Kind::Words => {
                let words: Vec<&str> = text.split_ascii_whitespace().collect();
                Ok(words.join(" ").into_bytes())
            }
            Kind::Percentiles => {
                let numbers: Result<Vec<f64>, _> = text.split_ascii_whitespace().map(str::parse).collect();
                let numbers = numbers.map_err(|_| "Invalid latency-tracking-info-percentiles parameters".to_owned())?;
                if !numbers.iter().all(|percent| (0.0..=100.0).contains(percent)) {
                    return Err(
                        "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".to_owned()
                    );
                }
                let words: Vec<String> = numbers.iter().map(f64::to_string).collect();
                Ok(words.join(" ").into_bytes())
            }
            Kind::Bool => match text.to_ascii_lowercase().as_str() {
                yes_or_no @ ("yes" | "no") => Ok(yes_or_no.as_bytes().to_vec()),
                _ => Err("argument must be 'yes' or 'no'".to_owned()),
            },
            Kind::Int { min, max } => {
                let number = text.parse().map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
                in_range(number, min, max)
            }
            Kind::Size { min, max } => {
                let bytes = size(text).and_then(|b| i64::try_from(b).ok());
                in_range(bytes.ok_or_else(|| "argument must be a memory value".to_owned())?, min, max)
            }
            Kind::SizeOrPercent => {
                let bad = || "argument must be a memory or percent value".to_owned();
                let Some(percent) = text.strip_suffix('%') else {
                    return Ok(size(text).ok_or_else(bad)?.to_string().into_bytes());
                };
                match percent.parse::<u64>().map_err(|_| bad())? {
                    percent @ ..=100 => Ok(format!("{percent}%").into_bytes()),
                    _ => Err("percentage argument must be less or equal to 100".to_owned()),
                }
            }
            Kind::Octal => {
                let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
                let mode = mode.ok_or_else(|| "argument couldn't be parsed into an octal number".to_owned())?;
                Ok(format!("{mode:o}").into_bytes())
            }
            Kind::Enum(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text));
                word.map(|word| word.as_bytes().to_vec())
                    .ok_or_else(|| format!("argument(s) must be one of the following: {}", words.join(", ")))
            }
            Kind::OutputLimits => {
                let current = std::str::from_utf8(current).unwrap_or_default();
                let limits = parse_output_limits(current, [[0; 3]; 3]).unwrap_or_default();
                parse_output_limits(text, limits).map(|limits| print_output_limits(limits).into_bytes())
            }
            Kind::SavePoints => {
                let numbers: Option<Vec<u64>> = text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
                let numbers = numbers.filter(|n| n.len().is_multiple_of(2) && n.chunks(2).all(|pair| pair[0] >= 1));
                let numbers = numbers.ok_or_else(|| "Invalid save parameters".to_owned())?;
                let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
                Ok(words.join(" ").into_bytes())
            }
            Kind::KeyspaceEvents => keyspace_events(text)
                .map(String::into_bytes)
                .ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned()),
        }
    }
}

/// Event classes in the order Redis prints them; `A` stands for the classes in [`ALL_EVENTS`].
const ALL_EVENTS: &str = "g$lshzxetd";

fn keyspace_events(text: &str) -> Option<String> {
    if !text.chars().all(|c| "KEAmn".contains(c) || ALL_EVENTS.contains(c)) {
        return None;
    }
    let has = |c: char| text.contains(c) || (text.contains('A') && ALL_EVENTS.contains(c));
    let mut printed = String::new();
    if ALL_EVENTS.chars().all(has) {
        printed.push('A');
    } else {
        printed.extend(ALL_EVENTS.chars().filter(|c| has(*c)));
    }
    printed.extend("nKEm".chars().filter(|c| has(*c)));
    Some(printed)
}
