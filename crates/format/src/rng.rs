//! Randomness: the [`Rng`] trait through which all of Larder draws it.
//!
//! Keys and tokens must come from [`SystemRng`]. Simulations use [`SeededRng`], which is fast, repeatable and
//! not secret.

/// Where random bytes come from.
pub trait Rng: Send {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]);

    /// A random `u64`.
    fn u64(&mut self) -> u64 {
        let mut out = [0; 8];
        self.fill(&mut out);
        u64::from_le_bytes(out)
    }

    /// A number below `bound` (which must not be 0), with a bias below 2^-32 for bounds below 2^32.
    fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "an empty range has no random member");
        let wide = u128::from(self.u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the high half of a 128-bit product fits 64 bits")
    }

    /// An array of random bytes.
    fn array<const N: usize>(&mut self) -> [u8; N]
    where
        Self: Sized,
    {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

/// The operating system's random source, fit for keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    /// # Panics
    /// If the system has no randomness: going on without would mean guessable keys.
    #[allow(clippy::disallowed_methods, reason = "this is the Rng that everything else uses")]
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system must supply randomness");
    }
}

/// SplitMix64: one `u64` of state, passes statistical tests, repeatable, not secret.
#[derive(Debug, Clone)]
pub struct SeededRng {
    state: u64,
}

impl SeededRng {
    /// The same seed gives the same sequence, on every machine.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }
}

impl Rng for SeededRng {
    fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            let word = self.u64().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }

    fn u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
