//! Names a crash image by what it keeps of the lines that were not surely durable.

use std::fmt;
use std::str::FromStr;

/// What a crash kept of one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptLine {
    /// Byte offset of the line (of the page, in the page-cache domain).
    pub line: u64,
    /// For each pending group of the line, oldest first, a bit for each unit that was kept. Groups beyond the end are lost.
    pub units: Vec<u8>,
}

/// What a crash kept: nothing of the lines that are not in it. Written as `2040=ff+2080=ff,03`, offsets and bits in
/// hexadecimal; `-` when nothing was kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kept(Vec<KeptLine>);

impl Kept {
    /// The lines of which something was kept.
    pub fn lines(&self) -> &[KeptLine] {
        &self.0
    }

    /// Adds what was kept of a line that is not in it yet; a line of which nothing was kept is left out.
    pub fn push(&mut self, mut line: KeptLine) {
        while line.units.last() == Some(&0) {
            line.units.pop();
        }
        if !line.units.is_empty() {
            self.0.push(line);
        }
    }

    /// Adds all of `other`, which has no line in common with this.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        for (index, KeptLine { line, units }) in self.0.iter().enumerate() {
            let separator = if index > 0 { "+" } else { "" };
            write!(f, "{separator}{line:x}=")?;
            for (group, units) in units.iter().enumerate() {
                let separator = if group > 0 { "," } else { "" };
                write!(f, "{separator}{units:02x}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} does not say what was kept, as in 2040=ff+2080=ff,03");
        let mut kept = Self::default();
        if text == "-" {
            return Ok(kept);
        }
        for line in text.split('+') {
            let (line, units) = line.split_once('=').ok_or_else(wrong)?;
            let line = u64::from_str_radix(line, 16).map_err(|_| wrong())?;
            let units: Result<Vec<u8>, _> = units.split(',').map(|units| u8::from_str_radix(units, 16)).collect();
            kept.push(KeptLine { line, units: units.map_err(|_| wrong())? });
        }
        Ok(kept)
    }
}
