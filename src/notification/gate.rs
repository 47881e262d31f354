//! The last step before the wire: one process sends no sender's messages closer together than its rate.
//!
//! Tokens of the pace are taken when a job leaves its lane. Between that and the request lie an admission and its
//! batch; when these stall (a cold start, a slow disk), jobs that were well apart would go out at once, and Meta would
//! refuse them. Redis keeps the rate of all processes together; this keeps their order in time within each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::tenant::TenantId;

/// Faster senders are not held apart: a millisecond is as exact as timers are, and Meta allows none more.
const RATE_MAX: u32 = 1_000;
/// Messages are a hundredth further apart than the rate asks: the network delays them, and not each equally.
const APART: f64 = 1.01;
/// Senders remembered before those at rest are forgotten.
const KEPT: usize = 1_000;

/// When each sender's next message may go.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<HashMap<TenantId, Instant>>);

impl Gate {
    /// The moment of this sender's next message at `rate` a second, none before `now`; it is taken by the call.
    pub(super) fn next(&self, tenant: TenantId, rate: u32, now: Instant) -> Instant {
        if rate == 0 || rate > RATE_MAX {
            return now;
        }
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() >= KEPT {
            free.retain(|_, at| *at > now);
        }
        let at = free.get(&tenant).map_or(now, |at| (*at).max(now));
        free.insert(tenant, at + (Duration::from_secs(1) / rate).mul_f64(APART));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stall_pressed_together_goes_out_at_the_rate() {
        let (gate, now) = (Gate::default(), Instant::now());
        let sender = TenantId(uuid::Uuid::from_u128(1));
        let at: Vec<Duration> = (0..81).map(|_| gate.next(sender, 80, now) - now).collect();
        assert_eq!((at[0], at[1]), (Duration::ZERO, Duration::from_micros(12_625)));
        assert!(at[80] > Duration::from_secs(1), "{:?}", at[80]);
        // Nobody waits whose turn it is, nor another sender.
        let later = now + Duration::from_secs(5);
        assert_eq!(gate.next(sender, 80, later), later);
        assert_eq!(gate.next(TenantId(uuid::Uuid::from_u128(2)), 80, now), now);
    }

    #[test]
    fn fast_senders_are_not_held_apart() {
        let (gate, now) = (Gate::default(), Instant::now());
        let sender = TenantId(uuid::Uuid::from_u128(1));
        assert!((0..10).all(|_| gate.next(sender, 1_001, now) == now && gate.next(sender, 0, now) == now));
    }
}
