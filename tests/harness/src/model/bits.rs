//! Bitmap commands, bit by bit.

use super::{Frame, Model, Outcome, SYNTAX, Stop, clip, clip_ordered, integer, plain_integer, refuse};

const BAD_OFFSET: &str = "ERR bit offset is not an integer or out of range";
const BAD_BIT: &str = "ERR bit is not an integer or out of range";
const BAD_TYPE: &str =
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";

/// One more than the greatest bit offset of a string of 512 MiB.
const BITS_MAX: i64 = 512 * 1024 * 1024 * 8;

fn bit_at(value: &[u8], offset: usize) -> u8 {
    value.get(offset / 8).map_or(0, |byte| byte >> (7 - offset % 8) & 1)
}

fn set_bit(value: &mut [u8], offset: usize, bit: u8) {
    let mask = 0x80 >> (offset % 8);
    let byte = &mut value[offset / 8];
    *byte = if bit == 1 { *byte | mask } else { *byte & !mask };
}

/// A bit offset; `#3` counts fields of `field_bits`.
fn bit_offset(text: &[u8], field_bits: Option<usize>) -> Result<usize, Stop> {
    let (digits, unit) = match (text, field_bits) {
        ([b'#', digits @ ..], Some(bits)) => (digits, bits as i64),
        _ => (text, 1),
    };
    match plain_integer(digits).and_then(|n| n.checked_mul(unit)) {
        Some(offset) if (0..BITS_MAX).contains(&offset) => Ok(offset as usize),
        _ => refuse(BAD_OFFSET),
    }
}

/// What to do with a value that does not fit its field.
#[derive(Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// A field's type.
#[derive(Clone, Copy)]
struct Field {
    signed: bool,
    bits: usize,
}

/// One step of BITFIELD with its field and bit offset.
enum Step {
    Get(Field, usize),
    Set(Field, usize, i64, Overflow),
    Increment(Field, usize, i64, Overflow),
}

impl Field {
    fn parse(text: &[u8]) -> Result<Self, Stop> {
        let (signed, digits) = match text {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return refuse(BAD_TYPE),
        };
        match plain_integer(digits) {
            Some(bits) if bits >= 1 && bits <= if signed { 64 } else { 63 } => Ok(Self { signed, bits: bits as usize }),
            _ => refuse(BAD_TYPE),
        }
    }

    fn read(self, value: &[u8], offset: usize) -> i128 {
        let raw = (0..self.bits).fold(0_i128, |raw, index| raw << 1 | i128::from(bit_at(value, offset + index)));
        self.wrap(raw)
    }

    fn write(self, value: &mut [u8], offset: usize, number: i128) {
        for index in 0..self.bits {
            set_bit(value, offset + index, (number >> (self.bits - 1 - index) & 1) as u8);
        }
    }

    fn range(self) -> (i128, i128) {
        if self.signed { (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) } else { (0, (1 << self.bits) - 1) }
    }

    /// The number's low bits as this type reads them.
    fn wrap(self, number: i128) -> i128 {
        let low = number & ((1 << self.bits) - 1);
        if self.signed && low >> (self.bits - 1) & 1 == 1 { low - (1 << self.bits) } else { low }
    }

    /// The number to store, or nothing when it does not fit and may not.
    fn fit(self, number: i128, overflow: Overflow) -> Option<i128> {
        let (low, high) = self.range();
        match overflow {
            _ if (low..=high).contains(&number) => Some(number),
            Overflow::Wrap => Some(self.wrap(number)),
            Overflow::Saturate => Some(number.clamp(low, high)),
            Overflow::Fail => None,
        }
    }
}

impl Model {
    pub(super) fn setbit(&mut self, key: &[u8], offset: &[u8], bit: &[u8]) -> Outcome {
        let offset = bit_offset(offset, None)?;
        let bit = match plain_integer(bit) {
            Some(bit @ (0 | 1)) => bit as u8,
            _ => return refuse(BAD_BIT),
        };
        let mut value = self.value_or_empty(key).to_vec();
        let old = bit_at(&value, offset);
        value.resize(value.len().max(offset / 8 + 1), 0);
        set_bit(&mut value, offset, bit);
        self.update(key, value);
        Ok(i64::from(old).into())
    }

    pub(super) fn getbit(&self, key: &[u8], offset: &[u8]) -> Outcome {
        let offset = bit_offset(offset, None)?;
        Ok(i64::from(bit_at(self.value_or_empty(key), offset)).into())
    }

    pub(super) fn bitcount(&self, key: &[u8], range: &[&[u8]]) -> Outcome {
        let value = self.value_or_empty(key);
        let Some((start, end, _)) = bit_range(range, value.len(), true)? else { return Ok(0.into()) };
        Ok(((start..=end).filter(|&offset| bit_at(value, offset) == 1).count() as i64).into())
    }

    pub(super) fn bitpos(&self, key: &[u8], bit: &[u8], range: &[&[u8]]) -> Outcome {
        let bit = match integer(bit)? {
            bit @ (0 | 1) => bit as u8,
            _ => return refuse("ERR The bit argument must be 1 or 0."),
        };
        let Some(value) = self.value(key) else { return Ok(if bit == 1 { -1 } else { 0 }.into()) };
        let Some((start, end, end_given)) = bit_range(range, value.len(), false)? else { return Ok((-1).into()) };
        let found = (start..=end).find(|&offset| bit_at(value, offset) == bit);
        Ok(match found {
            Some(offset) => offset as i64,
            // Without an end the string is taken to go on in zeros.
            None if bit == 0 && !end_given => value.len() as i64 * 8,
            None => -1,
        }
        .into())
    }

    pub(super) fn bitop(&mut self, operation: &[u8], target: &[u8], sources: &[&[u8]]) -> Outcome {
        let combine: fn(u8, u8) -> u8 = match operation.to_ascii_uppercase().as_slice() {
            b"AND" => |a, b| a & b,
            b"OR" => |a, b| a | b,
            b"XOR" => |a, b| a ^ b,
            b"NOT" if sources.len() == 1 => |a, _| !a,
            b"NOT" => return refuse("ERR BITOP NOT must be called with a single source key."),
            _ => return refuse(SYNTAX),
        };
        let values: Vec<&[u8]> = sources.iter().map(|source| self.value_or_empty(source)).collect();
        let len = values.iter().map(|value| value.len()).max().unwrap_or(0);
        let byte = |value: &[u8], index: usize| value.get(index).copied().unwrap_or(0);
        let result: Vec<u8> = (0..len)
            .map(|index| {
                let first = byte(values[0], index);
                if values.len() == 1 && operation.eq_ignore_ascii_case(b"NOT") {
                    return combine(first, 0);
                }
                values[1..].iter().fold(first, |sum, value| combine(sum, byte(value, index)))
            })
            .collect();
        if result.is_empty() {
            self.db_mut().keys.remove(target);
        } else {
            self.put(target, result);
        }
        Ok((len as i64).into())
    }

    pub(super) fn bitfield(&mut self, key: &[u8], words: &[&[u8]], read_only: bool) -> Outcome {
        let steps = parse_steps(words)?;
        let ends = steps.iter().filter_map(|step| match step {
            Step::Get(..) => None,
            Step::Set(field, offset, ..) | Step::Increment(field, offset, ..) => Some(offset + field.bits),
        });
        let write_end = ends.max();
        if read_only && write_end.is_some() {
            return refuse("ERR BITFIELD_RO only supports the GET subcommand");
        }
        let mut value = self.value_or_empty(key).to_vec();
        if let Some(end) = write_end {
            value.resize(value.len().max(end.div_ceil(8)), 0);
        }
        let replies = steps.iter().map(|step| run_step(step, &mut value)).collect::<Vec<_>>();
        if write_end.is_some() {
            self.update(key, value);
        }
        let null = self.null();
        let frame = |reply: Option<i128>| reply.map_or(null.clone(), |number| Frame::Integer(number as i64));
        Ok(Frame::Array(replies.into_iter().map(frame).collect()).into())
    }
}

fn run_step(step: &Step, value: &mut [u8]) -> Option<i128> {
    match *step {
        Step::Get(field, offset) => Some(field.read(value, offset)),
        Step::Set(field, offset, number, overflow) => {
            // An unsigned field takes a negative number as its 64 bits.
            let number = if field.signed { i128::from(number) } else { i128::from(number as u64) };
            let old = field.read(value, offset);
            let new = field.fit(number, overflow)?;
            field.write(value, offset, new);
            Some(old)
        }
        Step::Increment(field, offset, by, overflow) => {
            let new = field.fit(field.read(value, offset) + i128::from(by), overflow)?;
            field.write(value, offset, new);
            Some(new)
        }
    }
}

fn parse_steps(mut words: &[&[u8]]) -> Result<Vec<Step>, Stop> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    while let [name, rest @ ..] = words {
        words = match (name.to_ascii_uppercase().as_slice(), rest) {
            (b"OVERFLOW", [kind, rest @ ..]) => {
                overflow = match kind.to_ascii_uppercase().as_slice() {
                    b"WRAP" => Overflow::Wrap,
                    b"SAT" => Overflow::Saturate,
                    b"FAIL" => Overflow::Fail,
                    _ => return refuse("ERR Invalid OVERFLOW type specified"),
                };
                rest
            }
            (b"GET", [field, offset, rest @ ..]) => {
                let field = Field::parse(field)?;
                steps.push(Step::Get(field, bit_offset(offset, Some(field.bits))?));
                rest
            }
            (b"SET", [field, offset, number, rest @ ..]) => {
                let field = Field::parse(field)?;
                steps.push(Step::Set(field, bit_offset(offset, Some(field.bits))?, integer(number)?, overflow));
                rest
            }
            (b"INCRBY", [field, offset, number, rest @ ..]) => {
                let field = Field::parse(field)?;
                steps.push(Step::Increment(field, bit_offset(offset, Some(field.bits))?, integer(number)?, overflow));
                rest
            }
            _ => return refuse(SYNTAX),
        };
    }
    Ok(steps)
}

/// The bits that `[start [end [BYTE|BIT]]]` names (inclusive), and whether an end was given; `None` when there are
/// none.
type BitRange = Option<(usize, usize, bool)>;

fn bit_range(range: &[&[u8]], len: usize, is_count: bool) -> Result<BitRange, Stop> {
    let (start, end, in_bits) = match range {
        [] => (0, None, false),
        [start] if !is_count => (integer(start)?, None, false),
        [start, end] => (integer(start)?, Some(integer(end)?), false),
        [start, end, unit] => {
            let numbers = (integer(start)?, Some(integer(end)?));
            match unit.to_ascii_uppercase().as_slice() {
                b"BYTE" => (numbers.0, numbers.1, false),
                b"BIT" => (numbers.0, numbers.1, true),
                _ => return refuse(SYNTAX),
            }
        }
        _ => return refuse(SYNTAX),
    };
    let clip = if is_count { clip_ordered } else { clip };
    let clipped = clip(start, end.unwrap_or(-1), if in_bits { len * 8 } else { len });
    let bits = |(start, end): (usize, usize)| if in_bits { (start, end) } else { (start * 8, end * 8 + 7) };
    Ok(clipped.map(bits).map(|(start, stop)| (start, stop, end.is_some())))
}
