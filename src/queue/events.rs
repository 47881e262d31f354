//! The stream of events for producers: appended in pipelines, trimmed.

use std::time::Duration;

use redis::Client;

use super::key::Keys;
use super::link::Link;

/// Events sent in one round trip at most.
const CHUNK: usize = 500;

/// The end of the stream of events that is written to.
#[derive(Debug)]
pub struct Events {
    key: String,
    link: Link,
}

impl Events {
    /// The stream of `namespace`; connects on first use.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { key: format!("{{{namespace}}}:events"), link: Link::new(client, Duration::from_secs(10)) }
    }

    /// The stream of the namespace that another link serves.
    pub(super) fn beside(keys: &Keys, link: &Link) -> Self {
        Self { key: format!("{}events", keys.prefix), link: link.another() }
    }

    /// Appends events in order, trimming the stream at about `most`; tries until Redis takes them.
    ///
    /// After a lost answer a chunk is appended again: at least once.
    pub async fn append(&self, lines: &[&str], most: u64) {
        for chunk in lines.chunks(CHUNK) {
            self.link
                .call("events", async |mut connection| {
                    let mut pipeline = redis::pipe();
                    for line in chunk {
                        pipeline.cmd("XADD").arg(&self.key).arg("MAXLEN").arg("~").arg(most);
                        pipeline.arg("*").arg("event").arg(line).ignore();
                    }
                    pipeline.query_async::<()>(&mut connection).await
                })
                .await;
        }
    }
}
