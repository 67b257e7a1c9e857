//! MD5 (RFC 1321), which MarketStore's log uses as its checksum. Not for secrets.

/// Bits each of the 64 steps rotates by.
const SHIFTS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// Collects bytes and gives their sum.
pub(super) struct Md5 {
    state: [u32; 4],
    table: [u32; 64],
    pending: Vec<u8>,
    len: u64,
}

impl Md5 {
    pub(super) fn new() -> Self {
        Self {
            state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476],
            // The table of the RFC: 2^32 times the sine of each step's number.
            table: std::array::from_fn(|step| {
                ((step as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32
            }),
            pending: Vec::with_capacity(64),
            len: 0,
        }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len() as u64;
        if !self.pending.is_empty() {
            let take = bytes.len().min(64 - self.pending.len());
            self.pending.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.pending.len() < 64 {
                return;
            }
            let block = std::mem::take(&mut self.pending);
            self.block(&block);
        }
        let mut blocks = bytes.chunks_exact(64);
        for block in &mut blocks {
            self.block(block);
        }
        self.pending.extend_from_slice(blocks.remainder());
    }

    pub(super) fn finish(mut self) -> [u8; 16] {
        let bits = self.len.wrapping_mul(8);
        let zeros = (119 - self.pending.len() % 64) % 64;
        let mut end = vec![0x80];
        end.resize(1 + zeros, 0);
        end.extend_from_slice(&bits.to_le_bytes());
        self.update(&end);
        let mut sum = [0; 16];
        for (bytes, word) in sum.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        sum
    }

    fn block(&mut self, block: &[u8]) {
        let mut words = [0_u32; 16];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let [mut a, mut b, mut c, mut d] = self.state;
        for step in 0..64 {
            let (mixed, word) = match step / 16 {
                0 => ((b & c) | (!b & d), step),
                1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
                2 => (b ^ c ^ d, (3 * step + 5) % 16),
                _ => (c ^ (b | !d), (7 * step) % 16),
            };
            let sum = a
                .wrapping_add(mixed)
                .wrapping_add(self.table[step])
                .wrapping_add(words[word]);
            let next = b.wrapping_add(sum.rotate_left(SHIFTS[step / 16][step % 4]));
            (a, d, c, b) = (d, c, b, next);
        }
        for (state, value) in self.state.iter_mut().zip([a, b, c, d]) {
            *state = state.wrapping_add(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str, pieces: usize) -> String {
        let mut sum = Md5::new();
        for piece in text.as_bytes().chunks(pieces) {
            sum.update(piece);
        }
        sum.finish().iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn sums_are_those_of_the_rfc_in_any_pieces() {
        let long = "1234567890".repeat(8);
        for pieces in [1, 3, 55, 56, 63, 64, 65, 1000] {
            assert_eq!(hex("", pieces), "d41d8cd98f00b204e9800998ecf8427e");
            assert_eq!(hex("abc", pieces), "900150983cd24fb0d6963f7d28e17f72");
            assert_eq!(
                hex("abcdefghijklmnopqrstuvwxyz", pieces),
                "c3fcd3d76192e4007dfb496cca67e13b"
            );
            assert_eq!(hex(&long, pieces), "57edf4a22be3c955ac49da2e2107b67a");
        }
    }
}
