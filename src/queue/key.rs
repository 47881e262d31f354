//! The names of the queue's keys: one hash tag, so one Redis Cluster slot per namespace.

/// Group under which workers read.
pub(crate) const GROUP: &str = "workers";

/// Every key of one namespace, built once.
#[derive(Debug, Clone)]
pub struct Keys {
    /// `{namespace}:`, before every other name.
    pub(crate) prefix: String,
    /// Intake stream: what producers write.
    pub(crate) jobs: String,
    /// Hash, token to record: every job in a lane, delayed, or running from a lane.
    pub(crate) held: String,
    /// Sorted set, group to the microsecond at which its lanes may be served next.
    pub(crate) ready: String,
    /// Sorted set, token to the millisecond at which it is due.
    pub(crate) delayed: String,
    /// Sorted set, worker to the millisecond until which it holds what it was served from lanes.
    pub(crate) leases: String,
    /// Hash, token to how often a job from a lane was taken over from a worker that died.
    pub(crate) takeovers: String,
    /// Stream of tokens that an earlier version served from lanes.
    pub(crate) earlier_run: String,
    /// Stream of jobs that can never be processed.
    pub(crate) rejected: String,
    /// Hash, worker name to its last heartbeat as JSON.
    pub(crate) workers: String,
}

impl Keys {
    /// The keys of `namespace`.
    pub fn new(namespace: &str) -> Self {
        let prefix = format!("{{{namespace}}}:");
        let key = |name: &str| format!("{prefix}{name}");
        Self {
            jobs: key("jobs"),
            held: key("held"),
            ready: key("ready"),
            delayed: key("delayed"),
            leases: key("leases"),
            takeovers: key("takeovers"),
            earlier_run: key("run"),
            rejected: key("rejected"),
            workers: key("workers"),
            prefix,
        }
    }

    /// Hash, what operators paused (`group|kind`, `*` for any) to when.
    pub(crate) fn paused(&self) -> String {
        format!("{}paused", self.prefix)
    }

    /// Set, what a worker was served from lanes and did not end: `number:token`.
    pub(crate) fn run(&self, worker: &str) -> String {
        format!("{}run:{worker}", self.prefix)
    }

    /// There while a worker must look at the owner of each entry of the intake: some of its own were taken over.
    pub(crate) fn lost_lease(&self, worker: &str) -> String {
        format!("{}lost_lease:{worker}", self.prefix)
    }

    /// The key that holds the pace of one group.
    pub(crate) fn pace(&self, group: &str) -> String {
        format!("{}pace:{group}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_share_one_slot() {
        let keys = Keys::new("kmsnotif");
        assert_eq!(keys.jobs, "{kmsnotif}:jobs");
        assert_eq!(keys.rejected, "{kmsnotif}:rejected");
        assert_eq!(keys.pace("rs-harapan"), "{kmsnotif}:pace:rs-harapan");
    }
}
