//! How fast groups and pairs may go: their rates, what lowers them, what blocks them. Shared by all workers.
//!
//! The rules stand in `lua/pace.lua` and `lua/pair.lua`; here is the door for those who know why.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::record::pair_text;
use super::script;
use super::stats::{Queue, QueueError};

/// Rates told in one call at most.
const RATES_MAX: usize = 1_000;

impl Queue {
    /// Tells the rates of groups as set, to those that have a pace already; others learn theirs with their first job.
    pub async fn tell_rates(&self, rates: &[(String, u32)]) -> Result<(), QueueError> {
        for chunk in rates.chunks(RATES_MAX) {
            self.link
                .try_call(async |mut connection| {
                    let mut script = script::RATE.prepare_invoke();
                    script.arg(&self.keys.prefix).arg("known");
                    for (group, rate) in chunk {
                        script.arg(group).arg(rate);
                    }
                    script.invoke_async::<()>(&mut connection).await
                })
                .await?;
        }
        Ok(())
    }

    /// Lowers a group's rate, once a second at most, and lets it rest; it grows back evenly, from half within a minute.
    ///
    /// Returns the rate from now on (jobs a second), or none if it was lowered within the last second.
    pub async fn lower(&self, group: &str, rest: Duration) -> Result<Option<f64>, QueueError> {
        let rest_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        let rate: String = self
            .link
            .try_call(async |mut connection| {
                let mut script = script::LOWER.prepare_invoke();
                script.arg(&self.keys.prefix).arg(group).arg(rest_ms).invoke_async(&mut connection).await
            })
            .await?;
        Ok(rate.parse().ok())
    }

    /// Lets a pair rest: no job of it starts for so long.
    pub async fn rest_pair(&self, pair: u64, rest: Duration) -> Result<(), QueueError> {
        let rest_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        Ok(self
            .link
            .try_call(async |mut connection| {
                let mut script = script::REST_PAIR.prepare_invoke();
                script.arg(&self.keys.prefix).arg(pair_text(pair)).arg(rest_ms).invoke_async(&mut connection).await
            })
            .await?)
    }

    /// Blocks a group until then: its jobs wait in their lanes. Unblocked by [`unblock`](Self::unblock) or by time.
    pub async fn block(&self, group: &str, until: DateTime<Utc>) -> Result<(), QueueError> {
        let pace = self.keys.pace(group);
        Ok(self
            .link
            .try_call(async |mut connection| {
                redis::cmd("HSET")
                    .arg(&pace)
                    .arg("blocked")
                    .arg(until.timestamp_micros())
                    .query_async(&mut connection)
                    .await
            })
            .await?)
    }

    /// Claims the one try of a group that is held back: true at most once in `every`, whoever asks. Either way the
    /// group's lanes rest until the next one is due, and then let one job through to claim it.
    pub async fn claim_probe(&self, group: &str, every: Duration) -> Result<bool, QueueError> {
        let pace = self.keys.pace(group);
        let granted: i64 = self
            .link
            .try_call(async |mut connection| {
                script::PROBE.key(&pace).arg(every.as_micros() as u64).invoke_async(&mut connection).await
            })
            .await?;
        Ok(granted == 1)
    }

    /// Lets a group go on at once.
    pub async fn unblock(&self, group: &str) -> Result<(), QueueError> {
        let pace = self.keys.pace(group);
        Ok(self
            .link
            .try_call(async |mut connection| {
                redis::pipe()
                    .atomic()
                    .cmd("HDEL")
                    .arg(&pace)
                    .arg(&["blocked", "probe", "probed"])
                    .ignore()
                    .cmd("ZADD")
                    .arg(&self.keys.ready)
                    .arg("XX")
                    .arg(0)
                    .arg(group)
                    .ignore()
                    .query_async(&mut connection)
                    .await
            })
            .await?)
    }

    /// Ends a group's rest at once; its rate stays as low as it is and grows back by itself.
    pub async fn end_rest(&self, group: &str) -> Result<(), QueueError> {
        let pace = self.keys.pace(group);
        Ok(self
            .link
            .try_call(async |mut connection| {
                redis::pipe()
                    .atomic()
                    .cmd("HDEL")
                    .arg(&[pace.as_str(), "rest"])
                    .ignore()
                    .cmd("ZADD")
                    .arg(&self.keys.ready)
                    .arg("XX")
                    .arg(0)
                    .arg(group)
                    .ignore()
                    .query_async(&mut connection)
                    .await
            })
            .await?)
    }
}
