//! The checksum of gzip and others (RFC 1952, section 8).

/// Goes on from what earlier bytes came to; 0 for the first.
///
/// Bit by bit: a few megabytes at most are summed, and a table would be longer than this.
pub fn more(sum: u32, bytes: &[u8]) -> u32 {
    let mut sum = !sum;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    !sum
}

const POLYNOMIAL: u32 = 0xedb8_8320;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_one_of_the_standard() {
        assert_eq!(more(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(more(more(0, b"1234"), b"56789"), 0xcbf4_3926);
    }
}
