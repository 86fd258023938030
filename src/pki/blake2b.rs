//! BLAKE2b with 512 bits and no key (RFC 7693): what minisign signs of a file.

use std::io::{self, Read};

/// The digest of all that comes, however much.
pub fn of_all(mut from: impl Read) -> io::Result<[u8; 64]> {
    let mut state = State {
        chain: IV,
        count: 0,
    };
    // The parameter block: no key, 64 bytes of digest.
    state.chain[0] ^= 0x0101_0040;
    let (mut block, mut filled) = ([0_u8; BLOCK], 0);
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for byte in chunk.iter().take(length) {
            // The last block, full or not, is another.
            if filled == BLOCK {
                state.compress(&block, BLOCK, false);
                filled = 0;
            }
            block[filled] = *byte;
            filled += 1;
        }
    }
    block[filled..].fill(0);
    state.compress(&block, filled, true);
    let mut digest = [0; 64];
    for (bytes, word) in digest.chunks_exact_mut(8).zip(state.chain) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Ok(digest)
}

struct State {
    chain: [u64; 8],
    /// Bytes so far.
    count: u128,
}

impl State {
    fn compress(&mut self, block: &[u8; BLOCK], length: usize, last: bool) {
        self.count += length as u128;
        let mut words = [0_u64; 16];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(bytes);
            *word = u64::from_le_bytes(eight);
        }
        let mut v = [0; 16];
        v[..8].copy_from_slice(&self.chain);
        v[8..].copy_from_slice(&IV);
        v[12] ^= self.count as u64;
        v[13] ^= (self.count >> 64) as u64;
        if last {
            v[14] = !v[14];
        }
        for round in 0..12 {
            let order = &SIGMA[round % 10];
            for (number, [a, b, c, d]) in MIXED.into_iter().enumerate() {
                let one = words[usize::from(order[2 * number])];
                let other = words[usize::from(order[2 * number + 1])];
                v[a] = v[a].wrapping_add(v[b]).wrapping_add(one);
                v[d] = (v[d] ^ v[a]).rotate_right(32);
                v[c] = v[c].wrapping_add(v[d]);
                v[b] = (v[b] ^ v[c]).rotate_right(24);
                v[a] = v[a].wrapping_add(v[b]).wrapping_add(other);
                v[d] = (v[d] ^ v[a]).rotate_right(16);
                v[c] = v[c].wrapping_add(v[d]);
                v[b] = (v[b] ^ v[c]).rotate_right(63);
            }
        }
        for (at, word) in self.chain.iter_mut().enumerate() {
            *word ^= v[at] ^ v[at + 8];
        }
    }
}

const BLOCK: usize = 128;
/// Bytes at a time.
const CHUNK: usize = 16 * 1024;

/// Columns, then diagonals.
const MIXED: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

const SIGMA: [[u8; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        let digest = of_all(bytes).unwrap();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 7693, appendix A, and what `b2sum` prints.
    #[test]
    fn known_digests() {
        assert_eq!(
            hex(b"abc"),
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1\
             7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
        );
        assert_eq!(
            hex(b""),
            "786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419\
             d25e1031afee585313896444934eb04b903a685b1448b755d56f701afe9be2ce"
        );
        for (length, start) in [(127, B127), (128, B128), (129, B129), (40_000, B40000)] {
            let digest = hex(&vec![b'x'; length]);
            assert!(digest.starts_with(start), "{length}: {digest}");
        }
    }

    const B127: &str = "acc1cd9ebcd76c8f0e9afcfe2e2479a1";
    const B128: &str = "082b91ea2e15d1556d2ceefdd5af5d64";
    const B129: &str = "362a53bbe2ec08097b2f358a41d0e153";
    const B40000: &str = "a8219a9056f76e4a135ed92202d07115";
}
