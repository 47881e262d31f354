//! Scripts on a real Redis that are sent again because their answer was lost.

use std::sync::atomic::{AtomicU32, Ordering};

use redis::{Connection, FromRedisValue};

use super::script;

const WORKER: &str = "w";

struct Place {
    connection: Connection,
    prefix: String,
}

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let url =
            crate::config::environment("REDIS_URL").expect("REDIS_URL is not set: run the tests with script/test");
        let connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let prefix = format!("{{script-{}-{}}}:", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { connection, prefix }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        redis::cmd(words[0]).arg(&words[1..]).query(&mut self.connection).unwrap()
    }

    /// An entry of the intake that this worker has read.
    fn read(&mut self) -> String {
        let jobs = self.key("jobs");
        let id: String = self.ask(&["XADD", &jobs, "*", "job", "{}"]);
        // There it is from the first on.
        let _: Result<(), _> =
            redis::cmd("XGROUP").arg(&["CREATE", &jobs, "workers", "0"]).query::<()>(&mut self.connection);
        let _: redis::Value = self.ask(&["XREADGROUP", "GROUP", "workers", WORKER, "STREAMS", &jobs, ">"]);
        id
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let keys: Vec<String> = self.ask(&["KEYS", &format!("{}*", self.prefix)]);
        for key in keys {
            let _: redis::Value = self.ask(&["DEL", &key]);
        }
    }
}

#[test]
fn a_move_that_is_sent_again_puts_nothing_into_its_lane_twice() {
    let mut place = Place::new();
    let ids = [place.read(), place.read()];
    let (jobs, held, ready) = (place.key("jobs"), place.key("held"), place.key("ready"));
    let mut moved = || {
        let mut script = script::MOVE.prepare_invoke();
        script.key(&[&jobs, &held, &ready]).arg(&[&place.prefix, "workers", WORKER]);
        for id in &ids {
            script.arg(&[id, "g", "1", "g|1|2:0:k|{}"]);
        }
        script.invoke::<u64>(&mut place.connection).unwrap()
    };
    assert_eq!([moved(), moved()], [2, 0]);
    let lane = place.key("lane:g:1");
    assert_eq!(place.ask::<Vec<String>>(&["LRANGE", &lane, "0", "-1"]), ids);
}

#[test]
fn an_acknowledgement_that_is_sent_again_ends_nothing_that_was_served_since() {
    let mut place = Place::new();
    let keys = ["jobs", "held", "run:w", "lost_lease:w", "takeovers"].map(|name| place.key(name));
    let token = "1763800000000-0";
    let _: redis::Value = place.ask(&["HSET", &keys[1], token, "g|1|2:0:k|{}"]);
    // Ended as number 1, and served to the same worker again as number 2.
    let _: redis::Value = place.ask(&["SADD", &keys[2], &format!("2:{token}")]);
    let lost: u64 = script::DONE
        .key(&keys)
        .arg(&["workers", WORKER, "0", &format!("1:{token}"), token])
        .invoke(&mut place.connection)
        .unwrap();
    assert_eq!(lost, 1);
    assert_eq!(place.ask::<u64>(&["HEXISTS", &keys[1], token]), 1);
    assert_eq!(place.ask::<u64>(&["SCARD", &keys[2]]), 1);
}

#[test]
fn a_claim_marks_whose_entries_were_taken_and_nobody_else() {
    let mut place = Place::new();
    let id = place.read();
    let claim = |place: &mut Place, lease_ms: &str| -> Vec<redis::Value> {
        let jobs = place.key("jobs");
        script::CLAIM
            .key(&jobs)
            .arg(&[&place.prefix, "workers", "other", lease_ms, &id])
            .invoke(&mut place.connection)
            .unwrap()
    };
    let mark = place.key("lost_lease:w");
    // Its owner renewed it meanwhile.
    assert_eq!(claim(&mut place, "60000").len(), 0);
    assert_eq!(place.ask::<u64>(&["EXISTS", &mark]), 0);
    assert_eq!(claim(&mut place, "0").len(), 1);
    assert_eq!(place.ask::<u64>(&["EXISTS", &mark]), 1);
}
