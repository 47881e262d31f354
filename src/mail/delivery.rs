//! Delivery: the scheduler's loop that takes mails from the outbox to the mail server, one after the other.
//!
//! 1. Claim the mail that has been due for longest, for a lease that is renewed as long as it is in hand.
//! 2. Compose it, and announce it to the server.
//! 3. Renew the lease once more: a scheduler that stalled learns here that the mail is another's, and lets go.
//! 4. Hand the text over, and record the answer.
//!
//! No transaction is open meanwhile. A crash before the server's answer sends nothing; a crash between its answer and
//! our commit sends a second copy under the same Message-ID, which SMTP gives no means to prevent.
//!
//! Is the server away or does it refuse us, no mail is to blame: the mail is due at once and the loop pauses. Refuses
//! it one mail for now, that mail waits and the others go on; refuses it one for good, that mail has failed.

use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::message::{ComposeError, Composer};
use super::smtp::{Failure, Relay};
use super::store::{self, Claimed};
use crate::telemetry::metric;

/// Mails of one scheduler: one in so long at most, whatever waits. Providers' limits begin at 14 a second.
pub const PACE: Duration = Duration::from_millis(100);
/// How often an empty outbox is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Before the database is asked again after an error.
const DATABASE_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause of the loop while the server is away.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// The longest wait of one mail between two attempts.
const WAIT_MAX: Duration = Duration::from_mins(10);
/// How long a mail in hand may take after the signal to stop; then its lease runs out.
const GRACE: Duration = Duration::from_secs(20);

/// Delivers mails in one scheduler.
#[derive(Debug)]
pub struct Delivery {
    /// The database.
    pub pool: PgPool,
    /// Writes mails.
    pub composer: Composer,
    /// The way to the mail server.
    pub relay: Relay,
    /// How long a mail stays with a scheduler that no longer renews it.
    pub lease: Duration,
}

/// How an attempt ended.
#[derive(Debug)]
enum Outcome {
    Sent,
    Failed(Failure),
    /// The mail is another scheduler's by now.
    Lost,
    /// The process ends before the answer came.
    Abandoned,
}

/// What the loop does next.
enum Next {
    Go,
    Wait(Duration),
}

impl Delivery {
    /// Delivers until `stopping` becomes true; what is in hand then may still end.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Pauses in a row because of the server.
        let mut pauses = 0;
        loop {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break,
                _ = pace.tick() => {}
            }
            if let Next::Wait(wait) = self.step(&stopping, &mut pauses).await {
                tokio::select! {
                    _ = stopping.wait_for(|stopping| *stopping) => break,
                    () = sleep(wait) => {}
                }
            }
        }
        self.relay.close().await;
    }

    /// Claims a mail and tries it; says how long to wait before the next.
    async fn step(&mut self, stopping: &watch::Receiver<bool>, pauses: &mut u32) -> Next {
        let mail = match store::claim(&self.pool, self.lease).await {
            Ok(Some(mail)) => mail,
            Ok(None) => {
                self.relay.close_if_idle().await;
                return Next::Wait(LOOK_EVERY);
            }
            Err(error) => {
                tracing::warn!(%error, "the outbox of mails could not be read; it is tried again");
                return Next::Wait(DATABASE_PAUSE);
            }
        };
        let outcome = self.deliver(&mail, stopping.clone()).await;
        let next = if let Outcome::Failed(Failure::Server(why)) = &outcome {
            let wait = pause(*pauses);
            if *pauses == 0 {
                tracing::warn!(why, "the mail server takes no mail; mails wait, and it is tried again");
            }
            *pauses = pauses.saturating_add(1);
            Next::Wait(wait)
        } else {
            if std::mem::take(pauses) > 0 {
                tracing::info!("the mail server takes mail again");
            }
            Next::Go
        };
        self.record(&mail, outcome, stopping.clone()).await;
        next
    }

    /// One attempt, under a lease that is kept alive.
    async fn deliver(&mut self, mail: &Claimed, stopping: watch::Receiver<bool>) -> Outcome {
        let (pool, lease) = (self.pool.clone(), self.lease);
        tokio::select! {
            outcome = self.attempt(mail) => outcome,
            () = keep(&pool, mail, lease) => Outcome::Lost,
            () = grace(stopping) => Outcome::Abandoned,
        }
    }

    async fn attempt(&mut self, mail: &Claimed) -> Outcome {
        let composed = match self.composer.compose(mail) {
            Ok(composed) => composed,
            Err(error @ ComposeError::Recipient) => return Outcome::Failed(Failure::Refused(error.to_string())),
            // A letter that this version does not know may be known to the scheduler that is deployed next.
            Err(error @ ComposeError::Unwritable(_)) => return Outcome::Failed(Failure::Later(error.to_string())),
        };
        let opened = match self.relay.open(&composed).await {
            Ok(opened) => opened,
            Err(failure) => return Outcome::Failed(failure),
        };
        // The fence. While the database is away nobody knows whose the mail is: nothing is handed over.
        match store::renew(&self.pool, mail, self.lease).await {
            Ok(true) => {}
            Ok(false) => return Outcome::Lost,
            Err(error) => return Outcome::Failed(Failure::Later(format!("the claim could not be renewed: {error}"))),
        }
        match opened.hand_over(&composed.bytes).await {
            Ok(()) => Outcome::Sent,
            Err(failure) => Outcome::Failed(failure),
        }
    }

    /// Writes down how an attempt ended; that a mail was sent is written until the database has it.
    async fn record(&self, mail: &Claimed, outcome: Outcome, stopping: watch::Receiver<bool>) {
        let (mail_id, tenant_id, letter, attempt) = (mail.mail_id, mail.tenant_id, &mail.letter, mail.attempts);
        let (told, written) = match outcome {
            Outcome::Sent => {
                tracing::info!(%mail_id, %tenant_id, letter, attempt, "mail sent");
                ("sent", self.record_sent(mail, stopping).await)
            }
            Outcome::Lost => {
                tracing::warn!(%mail_id, %tenant_id, letter, attempt, "another scheduler took this mail over");
                ("lost", Ok(()))
            }
            Outcome::Abandoned => {
                tracing::warn!(%mail_id, %tenant_id, letter, attempt, "stopped before the mail server answered");
                ("abandoned", Ok(()))
            }
            Outcome::Failed(failure) if mail.gives_up || matches!(failure, Failure::Refused(_)) => {
                // The server's words name the recipient: they are in the row and in no log.
                tracing::warn!(%mail_id, %tenant_id, letter, attempt, "mail failed for good: see `kmsnotif mail list --status failed`");
                let why = if mail.gives_up { format!("given up: {failure}") } else { failure.to_string() };
                ("failed", store::mark_failed(&self.pool, mail, &why).await)
            }
            Outcome::Failed(failure @ Failure::Server(_)) => {
                ("unreachable", store::mark_later(&self.pool, mail, Duration::ZERO, &failure.to_string()).await)
            }
            Outcome::Failed(failure) => {
                let wait = wait(attempt);
                tracing::info!(%mail_id, %tenant_id, letter, attempt, ?wait, "mail not taken yet");
                ("later", store::mark_later(&self.pool, mail, wait, &failure.to_string()).await)
            }
        };
        metrics::counter!(metric::MAIL_ATTEMPTS, "outcome" => told).increment(1);
        if let Err(error) = written {
            tracing::warn!(%mail_id, %error, "how a mail ended could not be recorded; it is tried again after its lease");
        }
    }

    async fn record_sent(&self, mail: &Claimed, stopping: watch::Receiver<bool>) -> Result<(), sqlx::Error> {
        let mut out_of_time = std::pin::pin!(grace(stopping));
        loop {
            let Err(error) = store::mark_sent(&self.pool, mail).await else { return Ok(()) };
            tracing::warn!(mail_id = %mail.mail_id, %error, "a mail was sent and could not be recorded; it is tried again");
            tokio::select! {
                () = &mut out_of_time => return Err(error),
                () = sleep(DATABASE_PAUSE) => {}
            }
        }
    }
}

/// Tells how the outbox stands.
pub async fn tell_depth(pool: &PgPool) -> Result<(), sqlx::Error> {
    let depth = store::get_depth(pool).await?;
    metrics::gauge!(metric::MAILS, "status" => "waiting").set(depth.waiting as f64);
    metrics::gauge!(metric::MAILS, "status" => "failed").set(depth.failed as f64);
    metrics::gauge!(metric::MAIL_OLDEST_WAIT).set(depth.oldest_wait_s);
    Ok(())
}

/// Renews a lease three times in its length; ends when the mail is another's.
async fn keep(pool: &PgPool, mail: &Claimed, lease: Duration) {
    loop {
        sleep(lease / 3).await;
        match store::renew(pool, mail, lease).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::debug!(%error, "the lease of a mail could not be renewed; it is tried again"),
        }
    }
}

/// Ends so long after the signal to stop.
async fn grace(mut stopping: watch::Receiver<bool>) {
    // An error means that the scheduler is gone, which is the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
    sleep(GRACE).await;
}

/// The wait of a mail before its next attempt: 2 s × 4^(n−1), at most [`WAIT_MAX`], of which the second half is random.
fn wait(attempt: i32) -> Duration {
    let power = u32::try_from(attempt - 1).unwrap_or_default().min(10);
    jittered((Duration::from_secs(2) * 4_u32.pow(power)).min(WAIT_MAX))
}

/// The nth pause of the loop: 1 s × 2^n, at most [`PAUSE_MAX`], of which the second half is random.
fn pause(pauses: u32) -> Duration {
    jittered((Duration::from_secs(1) * 2_u32.pow(pauses.min(10))).min(PAUSE_MAX))
}

fn jittered(most: Duration) -> Duration {
    most.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit() {
        for _ in 0..50 {
            for (attempt, most_s) in [(1, 2), (2, 8), (3, 32), (4, 128), (5, 512), (6, 600), (7, 600), (i32::MAX, 600)]
            {
                let most = Duration::from_secs(most_s);
                assert!((most / 2..=most).contains(&wait(attempt)), "{attempt}");
            }
            for (pauses, most_s) in [(0, 1), (1, 2), (5, 32), (6, 60), (u32::MAX, 60)] {
                let most = Duration::from_secs(most_s);
                assert!((most / 2..=most).contains(&pause(pauses)), "{pauses}");
            }
        }
    }
}
