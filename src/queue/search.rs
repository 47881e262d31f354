//! Looking through every job that waits, is delayed or in hand, and taking some out: an operator looks for one patient's.

use redis::Value;

use super::entry::list_entries;
use super::record::{Unpacked, unpack};
use super::stats::{Queue, QueueError};

/// Jobs read at once.
const PAGE: usize = 500;

impl Queue {
    /// Shows every job to `visit`, by its token; one that moves meanwhile may be shown twice.
    ///
    /// Records that only a newer program can read are left out.
    pub async fn visit_jobs(&self, mut visit: impl FnMut(&str, &[u8])) -> Result<(), QueueError> {
        let all = self.search_jobs(usize::MAX, |token, payload| {
            visit(token, payload);
            false
        });
        all.await.map(drop)
    }

    /// Looks for a job that waits, is delayed or in hand, among so many at most; says whether it was found.
    pub async fn search_jobs(
        &self,
        most: usize,
        mut is_it: impl FnMut(&str, &[u8]) -> bool,
    ) -> Result<bool, QueueError> {
        let mut seen = 0;
        // The intake first: what leaves it meanwhile is found in the lanes.
        let mut start = "-".to_owned();
        while seen < most {
            let page: Value = self
                .link
                .try_call(async |mut connection| {
                    redis::cmd("XRANGE")
                        .arg(&[self.keys.jobs.as_str(), start.as_str(), "+", "COUNT"])
                        .arg(PAGE)
                        .query_async(&mut connection)
                        .await
                })
                .await?;
            let entries = list_entries(page, "job");
            let Some(last) = entries.last() else { break };
            start = format!("({}", last.id);
            seen += entries.len();
            if entries.iter().any(|entry| is_it(&entry.id, entry.value.as_deref().unwrap_or_default())) {
                return Ok(true);
            }
        }
        let mut cursor = 0_u64;
        while seen < most {
            let (next, page): (u64, Vec<(String, Vec<u8>)>) = self
                .link
                .try_call(async |mut connection| {
                    redis::cmd("HSCAN")
                        .arg(&self.keys.held)
                        .arg(cursor)
                        .arg("COUNT")
                        .arg(PAGE)
                        .query_async(&mut connection)
                        .await
                })
                .await?;
            seen += page.len();
            for (token, record) in &page {
                if let Unpacked::Job { payload, .. } = unpack(record)
                    && is_it(token, payload)
                {
                    return Ok(true);
                }
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
        Ok(false)
    }

    /// Takes a job out of the queue, wherever it waits, and with it all that Redis knows of it.
    ///
    /// Only for one whose end is recorded elsewhere: nobody brings it back. Who has it in hand ends it as usual.
    pub async fn discard(&self, token: &str) -> Result<(), QueueError> {
        // Tokens of resends are no entries.
        let is_entry =
            token.split_once('-').is_some_and(|(ms, sequence)| ms.parse::<u64>().and(sequence.parse::<u64>()).is_ok());
        Ok(self
            .link
            .try_call(async |mut connection| {
                let mut pipeline = redis::pipe();
                pipeline.atomic();
                // A lane that still names it finds no record, and goes on.
                pipeline.cmd("HDEL").arg(&self.keys.held).arg(token).ignore();
                pipeline.cmd("ZREM").arg(&self.keys.delayed).arg(token).ignore();
                if is_entry {
                    pipeline.cmd("XDEL").arg(&self.keys.jobs).arg(token).ignore();
                }
                pipeline.query_async(&mut connection).await
            })
            .await?)
    }
}
