//! The quick loop: mutations of valid inputs, without looking at what they reach. It needs no special toolchain and is part of every test run;
//! the search with coverage is libFuzzer's, over the same targets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::Target;

/// Runs one target for so long with mutations of its seeds. Gives the number of inputs, or the input that made it panic.
///
/// # Errors
/// The input, when the target panics or takes longer than five seconds.
pub fn hammer(target: &Target, seed: u64, time: Duration) -> Result<u64, Vec<u8>> {
    let mut dice = Dice(seed | 1);
    let begun = Instant::now();
    let mut corpus = target.seeds.clone();
    corpus.extend(target.corpus().unwrap_or_default());
    let pool = corpus.len() + 200;
    let mut runs = 0;
    while begun.elapsed() < time {
        // Mostly a single step from a valid input, since many steps only lead to what the first check refuses.
        let valid = dice.below(3) > 0;
        let mut input = if valid {
            target.seeds[dice.below(target.seeds.len())].clone()
        } else {
            corpus[dice.below(corpus.len())].clone()
        };
        for _ in 0..=dice.below(2) {
            dice.mutate(&mut input, &target.seeds);
        }
        input.truncate(200_000);
        let started = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_ok();
        if !survived || started.elapsed() > Duration::from_secs(5) {
            return Err(input);
        }
        // A small pool of mutants, so that changes add up.
        if dice.below(50) == 0 {
            if corpus.len() < pool { corpus.push(input) } else { corpus[dice.below(pool)] = input }
        }
        runs += 1;
    }
    Ok(runs)
}

/// xorshift64: the same seed gives the same run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit.max(1) as u64) as usize
    }

    fn mutate(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        const WORDS: [&[u8]; 12] = [
            b"\"",
            b"{",
            b"}",
            b",",
            b":",
            b"0",
            b"-1",
            b"18446744073709551616",
            b"\n",
            b"\\u0041",
            b"null",
            b"\xff\xff\xff\xff",
        ];
        let at = self.below(input.len() + 1);
        let span = self.below(32).min(input.len() - at);
        match self.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.roll() as u8,
            2 => drop(input.drain(at..at + span)),
            3 => {
                let copy = input[at..at + span].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..at + span.min(word.len()), word.iter().copied());
            }
            5 => input.truncate(at),
            6 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ => {
                for byte in &mut input[at..at + span] {
                    *byte = self.roll() as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets;

    #[test]
    fn every_seed_is_taken_and_the_loop_finds_a_panic() {
        for target in targets() {
            for seed in &target.seeds {
                (target.run)(seed);
            }
        }
        let fragile = Target { name: "fragile", seeds: vec![vec![0; 4]], run: |bytes| assert!(bytes.len() < 6) };
        assert!(hammer(&fragile, 1, Duration::from_secs(20)).is_err());
    }
}
