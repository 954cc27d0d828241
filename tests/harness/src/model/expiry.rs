//! Deadlines: parsing, setting, telling.

use super::{CLOCK_SLACK_MS, Deadline, Expected, Model, Outcome, Stop, integer, refuse};

fn invalid<T>(name: &str) -> Result<T, Stop> {
    refuse(&format!("ERR invalid expire time in '{name}' command"))
}

/// A positive time from now; `unit` is how many milliseconds one of it has.
pub(super) fn relative_deadline(name: &str, time: &[u8], unit: i64, now: i64) -> Result<Deadline, Stop> {
    let Deadline { at_ms, .. } = absolute_deadline(name, time, unit)?;
    match at_ms.checked_add(now) {
        Some(at_ms) => Ok(Deadline { at_ms, exact: false }),
        None => invalid(name),
    }
}

/// A positive Unix time.
pub(super) fn absolute_deadline(name: &str, time: &[u8], unit: i64) -> Result<Deadline, Stop> {
    let time = integer(time)?;
    match time.checked_mul(unit) {
        Some(at_ms) if at_ms > 0 => Ok(Deadline { at_ms, exact: true }),
        _ => invalid(name),
    }
}

impl Model {
    /// Gives an existing key its deadline; one that is over removes it.
    pub(super) fn put_deadline(&mut self, key: &[u8], deadline: Deadline, now: i64) {
        let database = self.db_mut();
        if deadline.at_ms <= now {
            database.keys.remove(key);
            database.unsettled = true;
        } else if let Some(entry) = database.keys.get_mut(key) {
            entry.deadline = Some(deadline);
        }
    }

    /// The EXPIRE family; `base` is now for relative times and 0 for absolute ones.
    #[expect(clippy::too_many_arguments, reason = "four commands in one, told apart by these")]
    pub(super) fn set_expiry(
        &mut self,
        name: &str,
        key: &[u8],
        time: &[u8],
        unit: i64,
        base: i64,
        options: &[&[u8]],
        now: i64,
    ) -> Outcome {
        let has = |word: &[u8]| options.iter().any(|option| option.eq_ignore_ascii_case(word));
        let (nx, xx, gt, lt) = (has(b"NX"), has(b"XX"), has(b"GT"), has(b"LT"));
        let known =
            |option: &&&[u8]| [&b"NX"[..], b"XX", b"GT", b"LT"].iter().any(|word| option.eq_ignore_ascii_case(word));
        if let Some(unknown) = options.iter().find(|option| !known(option)) {
            return refuse(&format!("ERR Unsupported option {}", String::from_utf8_lossy(unknown)));
        }
        if nx && (xx || gt || lt) {
            return refuse("ERR NX and XX, GT or LT options at the same time are not compatible");
        }
        if gt && lt {
            return refuse("ERR GT and LT options at the same time are not compatible");
        }
        let at_ms = integer(time)?.checked_mul(unit).and_then(|at_ms| at_ms.checked_add(base));
        let Some(at_ms) = at_ms else { return invalid(name) };
        let new = Deadline { at_ms, exact: base == 0 };

        let Some(entry) = self.entry(key) else { return Ok(0.into()) };
        let refused = match entry.deadline {
            None => xx || gt,
            Some(old) if gt || lt => nx || is_later(old, new, gt)?,
            Some(_) => nx,
        };
        if refused {
            return Ok(0.into());
        }
        if new.at_ms <= now {
            self.db_mut().keys.remove(key);
        } else {
            self.put_deadline(key, new, now);
        }
        Ok(1.into())
    }

    pub(super) fn persist(&mut self, key: &[u8]) -> Outcome {
        let entry = self.db_mut().keys.get_mut(key);
        let removed = entry.and_then(|entry| entry.deadline.take()).is_some();
        Ok(i64::from(removed).into())
    }

    pub(super) fn time_left(&self, key: &[u8], unit: i64, now: i64) -> Outcome {
        Ok(match self.entry(key).map(|entry| entry.deadline) {
            None => (-2).into(),
            Some(None) => (-1).into(),
            Some(Some(deadline)) => near((deadline.at_ms - now) / unit, unit),
        })
    }

    pub(super) fn expire_time(&self, key: &[u8], unit: i64) -> Outcome {
        Ok(match self.entry(key).map(|entry| entry.deadline) {
            None => (-2).into(),
            Some(None) => (-1).into(),
            Some(Some(deadline)) if deadline.exact => rounded(deadline.at_ms, unit).into(),
            Some(Some(deadline)) => near(deadline.at_ms / unit, unit),
        })
    }
}

/// Seconds are told rounded to the nearest.
fn rounded(at_ms: i64, unit: i64) -> i64 {
    if unit == 1 { at_ms } else { at_ms.saturating_add(unit / 2) / unit }
}

fn near(value: i64, unit: i64) -> Expected {
    Expected::Near { value, slack: CLOCK_SLACK_MS / unit }
}

/// Whether GT (or else LT) leaves the old deadline. Two that are close and not both exact cannot be told apart.
pub(super) fn is_later(old: Deadline, new: Deadline, gt: bool) -> Result<bool, Stop> {
    if !(old.exact && new.exact) && old.at_ms.abs_diff(new.at_ms) < 2 * CLOCK_SLACK_MS.unsigned_abs() {
        return Err(Stop::Unpredictable);
    }
    Ok(if gt { new.at_ms <= old.at_ms } else { new.at_ms >= old.at_ms })
}
