//! The options of SET and GETEX: conditions, GET, and the times at which keys expire.

use crate::command::CommandError;
use crate::command::parse::{integer_arg, is_word};
use crate::protocol::Args;

/// When SET is to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// In any case.
    Always,
    /// NX: when the key does not exist.
    Absent,
    /// XX: when the key exists.
    Present,
}

impl Condition {
    /// Whether it holds for a key that exists or not.
    #[inline]
    pub fn holds(self, present: bool) -> bool {
        match self {
            Condition::Always => true,
            Condition::Absent => !present,
            Condition::Present => present,
        }
    }
}

/// How an option counts time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clocking {
    /// EX: seconds from now.
    Seconds,
    /// PX: milliseconds from now.
    Millis,
    /// EXAT: Unix time in seconds.
    AtSeconds,
    /// PXAT: Unix time in milliseconds.
    AtMillis,
}

/// What becomes of a key's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry<'a> {
    /// Nothing was said: SET removes it, GETEX leaves it.
    Unsaid,
    /// KEEPTTL.
    Keep,
    /// PERSIST.
    Persist,
    /// EX, PX, EXAT or PXAT with the text of its number, which is read late, as Redis does.
    Time(Clocking, &'a [u8]),
}

impl<'a> Expiry<'a> {
    /// Takes `new` for `self`; the same option again replaces the former, another one is an error.
    fn replace(&mut self, new: Self) -> Result<(), CommandError> {
        let same = match (*self, new) {
            (Expiry::Unsaid, _) => true,
            (Expiry::Time(old, _), Expiry::Time(new, _)) => old == new,
            (old, new) => old == new,
        };
        if !same {
            return Err(CommandError::SYNTAX);
        }
        *self = new;
        Ok(())
    }
}

/// The options of SET.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetOptions<'a> {
    /// NX or XX.
    pub condition: Condition,
    /// GET.
    pub get: bool,
    /// KEEPTTL, EX, PX, EXAT or PXAT.
    pub expiry: Expiry<'a>,
}

impl<'a> SetOptions<'a> {
    /// No options.
    pub const NONE: Self = Self { condition: Condition::Always, get: false, expiry: Expiry::Unsaid };

    /// Reads what follows key and value.
    ///
    /// # Errors
    /// `ERR syntax error` for an unknown word, a missing number and options that exclude each other.
    pub fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self::NONE;
        let mut at = 0;
        while let Some(word) = args.get(at) {
            if is_word(word, "NX") && options.condition != Condition::Present {
                options.condition = Condition::Absent;
            } else if is_word(word, "XX") && options.condition != Condition::Absent {
                options.condition = Condition::Present;
            } else if is_word(word, "GET") {
                options.get = true;
            } else if is_word(word, "KEEPTTL") {
                options.expiry.replace(Expiry::Keep)?;
            } else {
                options.expiry.replace(time_option(word, args.get(at + 1))?)?;
                at += 1;
            }
            at += 1;
        }
        Ok(options)
    }
}

/// Reads the options of GETEX.
///
/// # Errors
/// `ERR syntax error` as [`SetOptions::parse`].
pub fn parse_getex(args: Args<'_>) -> Result<Expiry<'_>, CommandError> {
    let mut expiry = Expiry::Unsaid;
    let mut at = 0;
    while let Some(word) = args.get(at) {
        if is_word(word, "PERSIST") {
            expiry.replace(Expiry::Persist)?;
        } else {
            expiry.replace(time_option(word, args.get(at + 1))?)?;
            at += 1;
        }
        at += 1;
    }
    Ok(expiry)
}

fn time_option<'a>(word: &[u8], number: Option<&'a [u8]>) -> Result<Expiry<'a>, CommandError> {
    let clocking = if is_word(word, "EX") {
        Clocking::Seconds
    } else if is_word(word, "PX") {
        Clocking::Millis
    } else if is_word(word, "EXAT") {
        Clocking::AtSeconds
    } else if is_word(word, "PXAT") {
        Clocking::AtMillis
    } else {
        return Err(CommandError::SYNTAX);
    };
    Ok(Expiry::Time(clocking, number.ok_or(CommandError::SYNTAX)?))
}

/// The moment that `text` means, in Unix milliseconds.
///
/// # Errors
/// `ERR value is not an integer or out of range`; `ERR invalid expire time in 'command' command` for what is not above 0 or does not
/// fit.
pub fn expire_at(clocking: Clocking, text: &[u8], now_ms: u64, command: &str) -> Result<u64, CommandError> {
    let number = integer_arg(text)?;
    let invalid = || CommandError::new(format!("ERR invalid expire time in '{command}' command"));
    if number <= 0 {
        return Err(invalid());
    }
    let ms = match clocking {
        Clocking::Seconds | Clocking::AtSeconds => number.checked_mul(1000).ok_or_else(invalid)?,
        Clocking::Millis | Clocking::AtMillis => number,
    };
    let at = match clocking {
        Clocking::Seconds | Clocking::Millis => i64::try_from(now_ms).ok().and_then(|now| ms.checked_add(now)),
        Clocking::AtSeconds | Clocking::AtMillis => Some(ms),
    };
    at.and_then(|at| u64::try_from(at).ok()).ok_or_else(invalid)
}
