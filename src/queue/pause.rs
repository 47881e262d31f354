//! What operators pause: everything, a group, a kind of job, or a kind of a group.
//!
//! It is kept in Redis, so it survives restarts and counts at once for every worker: each script that starts jobs
//! looks. A paused group waits in its lanes; jobs of a paused kind are parked beside them (`lua/paused.lua`).

use chrono::{DateTime, Utc};

use super::script;
use super::stats::{Queue, QueueError};

/// Stands for any group, or any kind.
const ANY: &str = "*";

/// Something that is paused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pause {
    /// Of this group; none: of every one.
    pub group: Option<String>,
    /// Jobs of this kind; none: of every one.
    pub kind: Option<String>,
    /// Since when.
    pub since: DateTime<Utc>,
}

impl Pause {
    fn read(field: &str, since: &str) -> Option<Self> {
        let (group, kind) = field.split_once('|')?;
        let any = |word: &str| (word != ANY).then(|| word.to_owned());
        let since = DateTime::from_timestamp_millis(since.parse().ok()?)?;
        Some(Self { group: any(group), kind: any(kind), since })
    }
}

impl Queue {
    /// Pauses a group's jobs of a kind (none: of every one); false if that was paused already.
    pub async fn pause(&self, group: Option<&str>, kind: Option<&str>) -> Result<bool, QueueError> {
        Ok(self
            .link
            .try_call(async |mut connection| {
                let mut script = script::PAUSE.prepare_invoke();
                script.arg(&self.keys.prefix).arg(group.unwrap_or(ANY)).arg(kind.unwrap_or(ANY));
                script.arg(Utc::now().timestamp_millis()).invoke_async(&mut connection).await
            })
            .await?)
    }

    /// Ends every pause of this group (none: of any) and of this kind (none: of any); says how many there were.
    pub async fn resume(&self, group: Option<&str>, kind: Option<&str>) -> Result<usize, QueueError> {
        let ended: Vec<String> = self
            .link
            .try_call(async |mut connection| {
                let mut script = script::RESUME.prepare_invoke();
                script.key(&self.keys.ready).arg(&self.keys.prefix);
                script.arg(group.unwrap_or_default()).arg(kind.unwrap_or_default());
                script.invoke_async(&mut connection).await
            })
            .await?;
        Ok(ended.len())
    }

    /// Lists what is paused.
    pub async fn list_paused(&self) -> Result<Vec<Pause>, QueueError> {
        let fields: Vec<(String, String)> = self
            .link
            .try_call(async |mut connection| {
                redis::cmd("HGETALL").arg(self.keys.paused()).query_async(&mut connection).await
            })
            .await?;
        let mut paused: Vec<Pause> = fields.iter().filter_map(|(field, since)| Pause::read(field, since)).collect();
        paused.sort();
        Ok(paused)
    }
}
