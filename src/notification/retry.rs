//! When a refused attempt is tried again: random up to a growing ceiling, or what Meta asked for.

use std::time::Duration;

/// Ceiling of the first wait.
const BASE: Duration = Duration::from_secs(2);
/// Ceiling of every wait.
const CEILING: Duration = Duration::from_mins(30);

/// The nth wait (n from 1): random up to min(30 min, 2 s × 4^(n−1)); never below what Meta asked for.
pub fn wait(nth: u32, retry_after: Option<Duration>) -> Duration {
    jittered(nth, retry_after, rand::random_range(0.0..1.0))
}

/// The wait of one recipient after Meta's limit per pair: 4^(n−1) seconds (Meta's advice for 131056), not below what
/// Meta asked for.
pub fn pair_wait(nth: u32, retry_after: Option<Duration>) -> Duration {
    let advised = Duration::from_secs(4_u64.saturating_pow(nth.saturating_sub(1))).min(CEILING);
    retry_after.map_or(advised, |asked| asked.max(advised))
}

/// As [`wait`], with the random part given (0 to 1).
fn jittered(nth: u32, retry_after: Option<Duration>, random: f64) -> Duration {
    let random = ceiling(nth).mul_f64(random);
    retry_after.map_or(random, |asked| asked.max(random.min(asked * 2)))
}

fn ceiling(nth: u32) -> Duration {
    BASE.saturating_mul(4_u32.saturating_pow(nth.saturating_sub(1).min(15))).min(CEILING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_grows_fourfold_up_to_half_an_hour() {
        let ceilings: Vec<u64> = (1..=8).map(|nth| ceiling(nth).as_secs()).collect();
        assert_eq!(ceilings, [2, 8, 32, 128, 512, 1800, 1800, 1800]);
        assert_eq!(ceiling(u32::MAX), CEILING);
    }

    #[test]
    fn a_pair_waits_as_meta_advises() {
        let waits: Vec<u64> = (1..=8).map(|nth| pair_wait(nth, None).as_secs()).collect();
        assert_eq!(waits, [1, 4, 16, 64, 256, 1024, 1800, 1800]);
        assert_eq!(pair_wait(2, Some(Duration::from_mins(1))), Duration::from_mins(1));
        assert_eq!(pair_wait(u32::MAX, None), CEILING);
    }

    #[test]
    fn a_wait_is_never_shorter_than_what_meta_asked_for() {
        for random in [0.0, 0.5, 1.0] {
            let asked = Duration::from_secs(5);
            let wait = jittered(1, Some(asked), random);
            assert!(wait >= asked && wait <= asked * 2, "{wait:?}");
        }
        assert_eq!(jittered(3, None, 1.0), Duration::from_secs(32));
        assert_eq!(jittered(3, None, 0.0), Duration::ZERO);
    }
}
