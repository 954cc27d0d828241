//! Generic and database commands.

use super::{
    DATABASES, Database, Expected, Frame, Model, NO_SUCH_DB, Outcome, SYNTAX, Stop, integer, plain_integer, refuse,
};

const SAME_OBJECTS: &str = "ERR source and destination objects are the same";

impl Model {
    pub(super) fn del(&mut self, keys: &[&[u8]]) -> Outcome {
        let database = self.db_mut();
        Ok((keys.iter().filter(|key| database.keys.remove(**key).is_some()).count() as i64).into())
    }

    pub(super) fn exists(&self, keys: &[&[u8]]) -> Outcome {
        Ok((keys.iter().filter(|key| self.entry(key).is_some()).count() as i64).into())
    }

    pub(super) fn type_of(&self, key: &[u8]) -> Outcome {
        let name = self.entry(key).map_or("none", |entry| entry.value.kind());
        Ok(Frame::Simple(name.into()).into())
    }

    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) -> Outcome {
        let Some(entry) = self.db_mut().keys.remove(from) else { return refuse("ERR no such key") };
        self.db_mut().keys.insert(to.to_vec(), entry);
        Ok(Frame::ok().into())
    }

    pub(super) fn renamenx(&mut self, from: &[u8], to: &[u8]) -> Outcome {
        if self.entry(from).is_none() {
            return refuse("ERR no such key");
        }
        if self.entry(to).is_some() {
            return Ok(0.into());
        }
        self.rename(from, to)?;
        Ok(1.into())
    }

    pub(super) fn copy(&mut self, from: &[u8], to: &[u8], options: &[&[u8]]) -> Outcome {
        let (mut replace, mut target, mut rest) = (false, self.selected, options);
        loop {
            rest = match rest {
                [] => break,
                [word, rest @ ..] if word.eq_ignore_ascii_case(b"REPLACE") => {
                    replace = true;
                    rest
                }
                [word, number, rest @ ..] if word.eq_ignore_ascii_case(b"DB") => {
                    target = database_number(number)?;
                    rest
                }
                _ => return refuse(SYNTAX),
            };
        }
        if target == self.selected && from == to {
            return refuse(SAME_OBJECTS);
        }
        let Some(entry) = self.entry(from).cloned() else { return Ok(0.into()) };
        let keys = &mut self.databases[target].keys;
        if keys.contains_key(to) && !replace {
            return Ok(0.into());
        }
        keys.insert(to.to_vec(), entry);
        Ok(1.into())
    }

    pub(super) fn move_key(&mut self, key: &[u8], database: &[u8]) -> Outcome {
        let target = database_number(database)?;
        if target == self.selected {
            return refuse(SAME_OBJECTS);
        }
        if self.entry(key).is_none() || self.databases[target].keys.contains_key(key) {
            return Ok(0.into());
        }
        if let Some(entry) = self.db_mut().keys.remove(key) {
            self.databases[target].keys.insert(key.to_vec(), entry);
        }
        Ok(1.into())
    }

    pub(super) fn keys_like(&self, pattern: &[u8]) -> Outcome {
        let matching = self.db().keys.keys().filter(|key| glob(pattern, key));
        Ok(Expected::AnyOrder(matching.map(Frame::bulk).collect()))
    }

    pub(super) fn randomkey(&self) -> Outcome {
        if self.db().unsettled {
            return Err(Stop::Unpredictable);
        }
        let keys: Vec<Frame> = self.db().keys.keys().map(Frame::bulk).collect();
        Ok(if keys.is_empty() { self.null().into() } else { Expected::OneOf(keys) })
    }

    pub(super) fn dbsize(&self) -> Outcome {
        if self.db().unsettled {
            return Err(Stop::Unpredictable);
        }
        Ok((self.db().keys.len() as i64).into())
    }

    pub(super) fn select(&mut self, database: &[u8]) -> Outcome {
        self.selected = database_number(database)?;
        Ok(Frame::ok().into())
    }

    pub(super) fn swapdb(&mut self, a: &[u8], b: &[u8]) -> Outcome {
        let parse =
            |text, which: &str| plain_integer(text).ok_or_else(|| Stop::Error(format!("ERR invalid {which} DB index")));
        let (a, b) = (parse(a, "first")?, parse(b, "second")?);
        let numbers = 0..DATABASES as i64;
        if !numbers.contains(&a) || !numbers.contains(&b) {
            return refuse(NO_SUCH_DB);
        }
        self.databases.swap(a as usize, b as usize);
        Ok(Frame::ok().into())
    }

    pub(super) fn flushdb(&mut self, options: &[&[u8]]) -> Outcome {
        check_flush_options(options)?;
        *self.db_mut() = Database::default();
        Ok(Frame::ok().into())
    }

    pub(super) fn flushall(&mut self, options: &[&[u8]]) -> Outcome {
        check_flush_options(options)?;
        self.databases.fill(Database::default());
        Ok(Frame::ok().into())
    }
}

fn check_flush_options(options: &[&[u8]]) -> Result<(), Stop> {
    match options {
        [] => Ok(()),
        [word] if word.eq_ignore_ascii_case(b"ASYNC") || word.eq_ignore_ascii_case(b"SYNC") => Ok(()),
        _ => refuse(SYNTAX),
    }
}

fn database_number(text: &[u8]) -> Result<usize, Stop> {
    match usize::try_from(integer(text)?) {
        Ok(number) if number < DATABASES => Ok(number),
        _ => refuse(NO_SUCH_DB),
    }
}

/// Glob matching by trying everything: `*`, `?`, `[a-c]`, `[^a]` and `\x`.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        ([b'?', rest @ ..], [_, text @ ..]) => glob(rest, text),
        ([b'[', rest @ ..], [first, text @ ..]) => match class(rest, *first) {
            (true, rest) => glob(rest, text),
            (false, _) => false,
        },
        ([b'\\', literal, rest @ ..], [first, text @ ..]) => literal == first && glob(rest, text),
        ([literal, rest @ ..], [first, text @ ..]) => literal == first && glob(rest, text),
        (_, []) => false,
    }
}

/// Whether a class takes `byte`, and what follows the class.
fn class(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut taken = false;
    loop {
        rest = match rest {
            [] => return (taken != negated, rest),
            [b']', rest @ ..] => return (taken != negated, rest),
            [b'\\', literal, rest @ ..] => {
                taken |= *literal == byte;
                rest
            }
            [low, b'-', high, rest @ ..] => {
                taken |= (*low.min(high)..=*low.max(high)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                taken |= *literal == byte;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("k*", "key", true),
            ("k?y", "key", true),
            ("k?y", "ky", false),
            ("k[a-f]y", "key", true),
            ("k[^e]y", "key", false),
            ("k\\*", "k*", true),
            ("k\\*", "kx", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), matches, "{pattern} on {text}");
        }
    }
}
