//! Meta's rate limits: messages per second of a sender (130429) and messages to one recipient (131056).
//!
//! Pure functions of a clock that is passed in, so that tests need not sleep.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Pairs kept before those that are at rest are forgotten.
const PAIRS_KEPT: usize = 50_000;
/// One message to the same user takes so long to earn (Meta, "About the platform", 2026).
const PAIR_INTERVAL: Duration = Duration::from_secs(6);
/// So many may be borrowed within one interval.
const PAIR_BURST: u32 = 45;
/// Part of a second's messages that may come at once.
const BURST_DIVISOR: u32 = 4;

/// Which limit a message ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The sender's throughput.
    Throughput,
    /// The pair of sender and recipient.
    Pair,
}

/// The state of all limits.
#[derive(Debug, Default)]
pub struct Pace {
    senders: HashMap<String, Instant>,
    pairs: HashMap<(String, String), Pair>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    /// When all that was borrowed is earned.
    earned_at: Instant,
    burst_at: Instant,
    burst: u32,
}

impl Pace {
    /// Counts one message of a sender; GCRA, with a quarter of a second's messages as burst. 0 means unlimited.
    pub fn admit_sender(&mut self, sender: &str, mps: u32, now: Instant) -> Result<(), Limit> {
        if mps == 0 {
            return Ok(());
        }
        let interval = Duration::from_secs(1) / mps;
        let tolerance = interval * (mps / BURST_DIVISOR).max(1);
        let Some(earned_at) = self.senders.get_mut(sender) else {
            if self.senders.len() >= PAIRS_KEPT {
                self.senders.retain(|_, earned_at| *earned_at > now);
            }
            self.senders.insert(sender.to_owned(), now + interval);
            return Ok(());
        };
        let next = (*earned_at).max(now) + interval;
        if next > now + tolerance.max(interval) {
            return Err(Limit::Throughput);
        }
        *earned_at = next;
        Ok(())
    }

    /// Counts one message to a recipient: 1 per 6 s, up to 45 within 6 s borrowed from the time after.
    ///
    /// A burst of 20 blocks the pair for about two minutes, as Meta says.
    pub fn admit_pair(&mut self, sender: &str, to: &str, now: Instant) -> Result<(), Limit> {
        if self.pairs.len() >= PAIRS_KEPT {
            self.pairs.retain(|_, pair| pair.earned_at > now);
        }
        let fresh = Pair { earned_at: now, burst_at: now, burst: 0 };
        let pair = self.pairs.entry((sender.to_owned(), to.to_owned())).or_insert(fresh);
        if pair.earned_at <= now {
            *pair = fresh;
        } else if now.duration_since(pair.burst_at) >= PAIR_INTERVAL || pair.burst >= PAIR_BURST {
            return Err(Limit::Pair);
        }
        pair.earned_at += PAIR_INTERVAL;
        pair.burst += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_keeps_its_rate_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let accepted = (0..2_000u64)
            .filter(|ms| pace.admit_sender("1001", 80, start + Duration::from_millis(*ms)).is_ok())
            .count();
        assert!((160..=181).contains(&accepted), "{accepted} in two seconds");
        assert!(pace.admit_sender("1002", 80, start).is_ok(), "another sender has its own rate");
    }

    #[test]
    fn zero_means_unlimited() {
        let mut pace = Pace::default();
        let now = Instant::now();
        assert!((0..10_000).all(|_| pace.admit_sender("1001", 0, now).is_ok()));
    }

    #[test]
    fn a_pair_may_borrow_45_and_pays_back() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let accepted = (0..60).filter(|_| pace.admit_pair("1001", "+62", start).is_ok()).count();
        assert_eq!(accepted, 45);
        let mut pace = Pace::default();
        assert!((0..20).all(|_| pace.admit_pair("1001", "+62", start).is_ok()));
        assert_eq!(pace.admit_pair("1001", "+62", start + Duration::from_secs(119)), Err(Limit::Pair));
        assert!(pace.admit_pair("1001", "+62", start + Duration::from_mins(2)).is_ok());
    }
}
