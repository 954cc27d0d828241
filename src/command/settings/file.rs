//! The configuration file: one directive a line, its words quoted as Redis quotes them, `#` before comments.

use super::{Effect, Kind, SETTINGS, Settings};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// One directive of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Its name, as written.
    pub name: String,
    /// Its words.
    pub words: Vec<Vec<u8>>,
}

impl Directive {
    /// The value that the setting of `kind` gets from the words: an error when it takes one word and there are more or none.
    ///
    /// # Errors
    /// What is wrong, in Redis's words.
    pub fn value(&self, kind: Kind) -> Result<Vec<u8>, String> {
        match self.words.as_slice() {
            [] => Err("wrong number of arguments".to_owned()),
            [word] => Ok(word.clone()),
            words if kind.takes_words() => Ok(words.join(&b' ')),
            _ => Err("wrong number of arguments".to_owned()),
        }
    }
}

/// Reads one line: `None` for a blank one or a comment.
///
/// # Errors
/// Unbalanced quotes.
pub fn parse_line(line: &[u8]) -> Result<Option<Directive>, String> {
    let line = line.trim_ascii();
    if line.is_empty() || line[0] == b'#' {
        return Ok(None);
    }
    let mut words = split(line).ok_or_else(|| "unbalanced quotes in configuration line".to_owned())?.into_iter();
    let name = words.next().unwrap_or_default();
    Ok(Some(Directive { name: String::from_utf8_lossy(&name).into_owned(), words: words.collect() }))
}

/// Cuts a line into words. `None` when a quote is left open or is followed by anything but a blank.
fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    // Ends: each turn takes at least one byte of the rest.
    while let Some(&first) = rest.first() {
        let mut word = Vec::new();
        if first == b'"' || first == b'\'' {
            rest = quoted(&rest[1..], first, &mut word)?;
            if rest.first().is_some_and(|next| !next.is_ascii_whitespace()) {
                return None;
            }
        } else {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            word.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    Some(words)
}

/// Reads up to the closing `quote`; returns what comes after it.
fn quoted<'a>(mut rest: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    // Ends: each turn takes at least one byte of the rest.
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            _ if byte == quote => return Some(rest),
            b'\\' if quote == b'\'' => {
                if rest.first() == Some(&b'\'') {
                    word.push(b'\'');
                    rest = &rest[1..];
                } else {
                    word.push(b'\\');
                }
            }
            b'\\' => {
                let (&escaped, after) = rest.split_first()?;
                rest = after;
                if escaped == b'x'
                    && let Some(value) = rest.get(..2).and_then(hex_byte)
                {
                    word.push(value);
                    rest = &rest[2..];
                    continue;
                }
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
            }
            other => word.push(other),
        }
    }
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A word as it must be written so that [`parse_line`] reads it back.
fn quote(word: &[u8]) -> String {
    let plain = !word.is_empty() && word.iter().all(|b| b.is_ascii_graphic() && !b"\"'\\#".contains(b));
    if plain {
        return word.iter().map(|&b| char::from(b)).collect();
    }
    let mut text = String::from("\"");
    for &byte in word {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => write!(text, "\\x{byte:02x}").expect("writing to a string does not fail"),
        }
    }
    text.push('"');
    text
}

/// The line that gives setting `at` of [`SETTINGS`] this value.
fn line_for(at: usize, value: &[u8]) -> String {
    let spec = &SETTINGS[at];
    let words = if spec.kind.takes_words() && !value.is_empty() {
        value.split(|&b| b == b' ').map(quote).collect::<Vec<_>>().join(" ")
    } else {
        quote(value)
    };
    format!("{} {words}", spec.name)
}

const GENERATED: &str = "# Generated by CONFIG REWRITE";

/// The file's text with every setting at its present value. Comments, blank lines and the order of directives stay;
/// settings that differ from their defaults and were not in the file are added at its end.
fn rewritten(old: &[u8], settings: &Settings) -> Vec<u8> {
    let mut written = vec![false; SETTINGS.len()];
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in old.split(|&b| b == b'\n') {
        let directive = parse_line(line).ok().flatten();
        match directive.and_then(|directive| Settings::find(directive.name.as_bytes())) {
            None => lines.push(line.to_vec()),
            Some(at) if written[at] => {}
            Some(at) => {
                written[at] = true;
                lines.push(line_for(at, &settings.value(at)).into_bytes());
            }
        }
    }
    while lines.last().is_some_and(|line| line.trim_ascii().is_empty()) {
        lines.pop();
    }
    let mut said = lines.iter().any(|line| line.trim_ascii() == GENERATED.as_bytes());
    for (at, spec) in SETTINGS.iter().enumerate() {
        let value = settings.value(at);
        if written[at] || value == spec.default.as_bytes() || spec.effect == Effect::IgnoredFixed {
            continue;
        }
        if !said {
            lines.push(GENERATED.as_bytes().to_vec());
            said = true;
        }
        lines.push(line_for(at, &value).into_bytes());
    }
    let mut text = lines.join(&b'\n');
    text.push(b'\n');
    text
}

/// CONFIG REWRITE: replaces the file at `path` in one step, keeping its permissions.
///
/// # Errors
/// Whatever reading, writing or renaming gives; the old file is then as it was.
pub fn rewrite(path: &Path, settings: &Settings) -> io::Result<()> {
    let old = fs::read(path)?;
    let text = rewritten(&old, settings);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = fs::File::create(&temporary)?;
        file.set_permissions(fs::metadata(path)?.permissions())?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // Nothing more can be done about a left-over file than to try to remove it.
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<Vec<u8>>> {
        split(line.as_bytes())
    }

    #[test]
    fn words_are_quoted_as_in_redis() {
        assert_eq!(words("save 60 1"), Some(vec![b"save".to_vec(), b"60".to_vec(), b"1".to_vec()]));
        assert_eq!(words(r#"a "b \"c\x41\n" 'd\'e\n'"#).unwrap()[1..], [b"b \"cA\n".to_vec(), b"d'e\\n".to_vec()]);
        assert_eq!(words(r#"a """#), Some(vec![b"a".to_vec(), b"".to_vec()]));
        assert_eq!(words(r#"a "b"#), None);
        assert_eq!(words(r#"a "b"c"#), None);
    }

    #[test]
    fn every_byte_survives_quoting() {
        let all: Vec<u8> = (0..=255).collect();
        let line = format!("requirepass {}", quote(&all));
        assert_eq!(parse_line(line.as_bytes()).unwrap().unwrap().words, [all]);
    }

    #[test]
    fn comments_and_blank_lines_are_no_directives() {
        assert_eq!(parse_line(b"   # port 1"), Ok(None));
        assert_eq!(parse_line(b" \t\r"), Ok(None));
    }

    #[test]
    fn rewriting_keeps_comments_and_order_and_adds_what_changed() {
        let settings = Settings::new();
        settings.set(&[(b"maxclients", b"77"), (b"timeout", b"5"), (b"requirepass", b"a b")]).unwrap();
        let old = b"# mine\nport 6379\n\ntimeout 9\ntimeout 8\nmaxmemory 1gb\n";
        let new = rewritten(old, &settings);
        assert_eq!(
            String::from_utf8(new).unwrap(),
            "# mine\nport 6379\n\ntimeout 5\nmaxmemory 0\n# Generated by CONFIG REWRITE\nmaxclients 77\nrequirepass \"a b\"\n"
        );
    }
}
