//! Random streams as data: each derives from the run and a purpose, so that no stream disturbs another.

use sha2::{Digest, Sha256};

use crate::plan::RunId;

/// The seed of the stream for `purpose` in the run `id`: the first eight bytes, little-endian, of
/// SHA-256("<id>/<purpose>").
pub fn derive(id: &RunId, purpose: &str) -> u64 {
    let hash = Sha256::digest(format!("{id}/{purpose}"));
    u64::from_le_bytes(hash[..8].try_into().expect("a hash has 32 bytes"))
}

/// Sebastiano Vigna's SplitMix64: a small generator whose numbers are the same on every machine.
#[derive(Clone, Debug)]
pub struct SplitMix(u64);

impl SplitMix {
    /// The stream that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`, each equally likely; `n` > 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // Of the 2^64 values, the first 2^64 mod n are refused, which leaves a multiple of n.
        let refused = n.wrapping_neg() % n;
        loop {
            let bits = self.next();
            if bits >= refused {
                return bits % n;
            }
        }
    }

    /// The numbers `0..n` in random order: Fisher and Yates's shuffle, from the end.
    pub fn permutation(&mut self, n: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..n as i64).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_runs_have_their_own_seeds() {
        let (a, b) = (RunId("00".into()), RunId("01".into()));
        assert_ne!(derive(&a, "order"), derive(&a, "weights"));
        assert_ne!(derive(&a, "order"), derive(&b, "order"));
        assert_eq!(derive(&a, "order"), derive(&a.clone(), "order"));
    }

    #[test]
    fn splitmix_gives_the_published_first_numbers_of_seed_0() {
        let mut stream = SplitMix::new(0);
        assert_eq!(stream.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(stream.next(), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(stream.next(), 0x06c4_5d18_8009_454f);
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = SplitMix::new(7).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<i64>>());
        order.sort();
        assert_eq!(order, (0..100).collect::<Vec<i64>>());
        assert!(SplitMix::new(7).permutation(0).is_empty());
    }
}
