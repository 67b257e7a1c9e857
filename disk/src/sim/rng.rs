//! A small generator of repeatable numbers (splitmix64).

/// Repeatable pseudo-random numbers from a seed; for tests, not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is of no interest to a test.
        if bound == 0 {
            0
        } else {
            self.next_u64() % bound
        }
    }

    /// True once in `count` times.
    pub fn chance(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}
