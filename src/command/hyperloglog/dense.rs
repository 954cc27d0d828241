//! Dense registers: 6 bits each, the lowest bits of a byte first.

use super::sketch::REGISTERS;

/// Bits of a register.
const REGISTER_BITS: usize = 6;
/// The highest rank there is room for.
const MAX_RANK: u8 = (1 << REGISTER_BITS) - 1;
/// Bytes of all registers.
pub const BYTES: usize = REGISTERS * REGISTER_BITS / 8;

/// The rank in register `index`.
pub fn get(registers: &[u8], index: usize) -> u8 {
    let (at, shift) = (index * REGISTER_BITS / 8, index * REGISTER_BITS % 8);
    let low = registers[at] >> shift;
    // A register that starts above bit 2 goes on in the next byte.
    let high = if shift > 2 { registers[at + 1] << (8 - shift) } else { 0 };
    (low | high) & MAX_RANK
}

/// Puts `rank` into register `index`.
pub fn set(registers: &mut [u8], index: usize, rank: u8) {
    let (at, shift) = (index * REGISTER_BITS / 8, index * REGISTER_BITS % 8);
    registers[at] = registers[at] & !(MAX_RANK << shift) | rank << shift;
    if shift > 2 {
        let next = &mut registers[at + 1];
        *next = *next & !(MAX_RANK >> (8 - shift)) | rank >> (8 - shift);
    }
}

/// Calls `visit` with each register and its rank: four registers make three bytes.
pub fn for_each(registers: &[u8], mut visit: impl FnMut(usize, u8)) {
    for (group, bytes) in registers.as_chunks::<3>().0.iter().enumerate() {
        let four = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        for place in 0..4 {
            visit(group * 4 + place, (four >> (place * REGISTER_BITS)) as u8 & MAX_RANK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_do_not_touch_each_other() {
        let mut registers = vec![0; BYTES];
        let mut known = vec![0; REGISTERS];
        let mut random = 1u64;
        for _ in 0..5 * REGISTERS {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let (index, rank) = ((random >> 40) as usize % REGISTERS, (random >> 33) as u8 & MAX_RANK);
            set(&mut registers, index, rank);
            known[index] = rank;
            assert_eq!(get(&registers, index), rank);
        }
        assert!((0..REGISTERS).all(|index| get(&registers, index) == known[index]));
        let mut seen = 0;
        for_each(&registers, |index, rank| {
            assert_eq!((index, rank), (seen, known[index]));
            seen += 1;
        });
        assert_eq!(seen, REGISTERS);
    }
}
