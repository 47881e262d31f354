//! The pace on a real Redis, at times that a test gives: no bound is left to how fast a machine is.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use redis::{Connection, Script};

const SECOND_US: u64 = 1_000_000;
/// A moment of Redis's clock.
const START_US: u64 = 1_795_503_600_000_000;

/// Takes and gives back at a given time, as `serve.lua` does.
const TAKE: &str = concat!(
    include_str!("lua/lib.lua"),
    include_str!("lua/pace.lua"),
    "local now, want, found = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])\n\
     local count, next_at = take(ARGV[1], ARGV[2], want, now)\n\
     if count > found then give_back(ARGV[1], ARGV[2], count - found, now) end\n\
     return {math.min(count, found), string.format('%.0f', next_at)}",
);

fn lower_at() -> Script {
    let at = include_str!("lua/lib.lua").replace("redis.call('TIME')", "{0, ARGV[4]}");
    Script::new(&[&at, include_str!("lua/pace.lua"), include_str!("lua/lower.lua")].concat())
}

struct Pace {
    connection: Connection,
    prefix: String,
    take: Script,
}

impl Pace {
    fn new(rate: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let url =
            crate::config::environment("REDIS_URL").expect("REDIS_URL is not set: run the tests with script/test");
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let prefix = format!("{{pace-{}-{}}}:", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let _: () = redis::cmd("HSET")
            .arg(&[&format!("{prefix}pace:g"), "rate", &rate.to_string()])
            .query(&mut connection)
            .unwrap();
        Self { connection, prefix, take: Script::new(TAKE) }
    }

    /// How many were taken of `want` when so many were `found`, and when the next one is free.
    fn take(&mut self, now_us: u64, want: u64, found: u64) -> (u64, u64) {
        let mut script = self.take.prepare_invoke();
        script.arg(&self.prefix).arg("g").arg(now_us).arg(want).arg(found);
        let (count, next): (u64, String) = script.invoke(&mut self.connection).unwrap();
        (count, next.parse().unwrap())
    }

    fn lower(&mut self, now_us: u64, rest_ms: u64) -> Option<f64> {
        let rate: String =
            lower_at().arg(&self.prefix).arg("g").arg(rest_ms).arg(now_us).invoke(&mut self.connection).unwrap();
        rate.parse().ok()
    }

    /// Serves for so long as a worker does: at the moment the script names, and up to `late_us` after it.
    fn serve(&mut self, from_us: u64, until_us: u64, late_us: u64) -> Vec<(u64, u64)> {
        let (mut now, mut taken, mut seed) = (from_us, Vec::new(), 7_u64);
        while now < until_us {
            let (count, next) = self.take(now, 1_000_000, 1_000_000);
            taken.push((now, count));
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            now = next.max(now + 1) + (seed >> 33) % (late_us + 1);
        }
        taken
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        let keys = ["pace:g", "taken:g"].map(|name| format!("{}{name}", self.prefix));
        let _: redis::RedisResult<()> = redis::cmd("DEL").arg(&keys).query(&mut self.connection);
    }
}

/// The most that lies in any window of this length.
fn most_in(taken: &[(u64, u64)], window_us: u64) -> u64 {
    let (mut first, mut inside, mut most) = (0, 0, 0);
    for (at, count) in taken {
        inside += count;
        while taken[first].0 + window_us <= *at {
            inside -= taken[first].1;
            first += 1;
        }
        most = most.max(inside);
    }
    most
}

fn total(taken: &[(u64, u64)]) -> u64 {
    taken.iter().map(|(_, count)| count).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_second_has_more_than_the_rate_and_no_start_more_than_its_burst(
        rate in prop_oneof![1_u32..30, 30_u32..200, 200_u32..5_000],
        // Several workers ask at any time, want any number, and find fewer jobs than they took tokens for.
        calls in prop::collection::vec(
            (prop_oneof![5 => 0_u64..3_000, 3 => 0_u64..60_000, 1 => 0_u64..3_000_000], 1_u64..300, 0_u64..300),
            1..250,
        ),
    ) {
        let mut pace = Pace::new(rate);
        let (mut now, mut taken) = (START_US, Vec::new());
        for (later, want, found) in calls {
            now += later;
            let (count, _) = pace.take(now, want, found);
            taken.push((now, count));
        }
        prop_assert!(most_in(&taken, SECOND_US) <= u64::from(rate));
        // At once: at most 50 ms of the rate, and always one.
        let burst = u64::from(rate / 20).max(1);
        prop_assert!(taken.iter().all(|(_, count)| *count <= burst), "{taken:?}");
    }
}

#[test]
fn the_rate_is_used_fully_by_a_worker_that_is_a_little_late() {
    for rate in [1, 20, 80, 1_000] {
        let mut pace = Pace::new(rate);
        // After idling, so that the burst is in it.
        let taken = pace.serve(START_US, START_US + 20 * SECOND_US, 3_000);
        assert!(most_in(&taken, SECOND_US) <= u64::from(rate), "{rate}");
        let share = total(&taken) as f64 / f64::from(rate * 20);
        assert!((0.95..=1.0).contains(&share), "{share} of {rate}");
    }
}

#[test]
fn a_lone_refusal_takes_a_fifth_and_one_soon_after_half_and_it_grows_back_within_a_minute() {
    let mut pace = Pace::new(80);
    let at = |second: u64| START_US + second * SECOND_US;
    assert_eq!(pace.lower(at(0), 0), Some(64.0));
    assert_eq!(pace.lower(at(0) + SECOND_US / 2, 0), None, "jobs on their way meet the same refusal");
    assert_eq!(pace.lower(at(60), 1_000), Some(64.0), "it had grown back");
    assert_eq!(pace.take(at(60) + SECOND_US / 2, 10, 10), (0, at(61)), "it rests");
    let lowered = pace.lower(at(62), 0).unwrap();
    assert!((32.0..34.0).contains(&lowered), "{lowered}");
    let slow = pace.serve(at(62), at(72), 0);
    assert!((320..=390).contains(&total(&slow)), "{}", total(&slow));
    let grown = pace.serve(at(142), at(152), 0);
    assert!((760..=800).contains(&total(&grown)), "{}", total(&grown));
    assert!(most_in(&grown, SECOND_US) <= 80);
}

#[test]
fn refusals_that_go_on_lower_to_a_floor_and_never_to_nothing() {
    let mut pace = Pace::new(80);
    let rates: Vec<f64> = (0..10).map(|n| pace.lower(START_US + n * SECOND_US, 0).unwrap()).collect();
    assert!(rates.windows(2).all(|pair| pair[1] <= pair[0]), "{rates:?}");
    assert!(rates[9] >= 4.0, "{rates:?}");
    let taken = pace.serve(START_US + 10 * SECOND_US, START_US + 12 * SECOND_US, 0);
    assert!(total(&taken) > 0);
}

#[test]
fn a_clock_that_was_set_back_stops_nobody() {
    let mut pace = Pace::new(80);
    let later = START_US + 3_600 * SECOND_US;
    pace.serve(later, later + 2 * SECOND_US, 0);
    let taken = pace.serve(START_US, START_US + 2 * SECOND_US, 0);
    assert!((150..=160).contains(&total(&taken)), "{}", total(&taken));
}

/// When a message to the pair may go: now (0), or at a millisecond.
fn pair_due(pace: &mut Pace, pair: &str, now_us: u64) -> u64 {
    let script = Script::new(concat!(
        include_str!("lua/lib.lua"),
        include_str!("lua/pair.lua"),
        "return pair_due(ARGV[1], ARGV[2], tonumber(ARGV[3]))",
    ));
    script.arg(&pace.prefix).arg(pair).arg(now_us).invoke(&mut pace.connection).unwrap()
}

#[test]
fn a_patient_gets_several_messages_at_once_and_then_one_per_six_seconds() {
    let mut pace = Pace::new(80);
    let dues: Vec<u64> = (0..45).map(|n| pair_due(&mut pace, "a", START_US + n)).collect();
    assert!(dues[..40].iter().all(|due| *due == 0), "what Meta takes is not delayed: {dues:?}");
    // 40 messages are earned after 240 s; each that waits is promised a moment of its own.
    assert_eq!(dues[40], START_US / 1_000 + 240_000);
    assert!(dues[40..].windows(2).all(|two| two[1] - two[0] >= 6_000), "{dues:?}");
    assert_eq!(pair_due(&mut pace, "b", START_US), 0, "another patient waits for nobody");
    // At its promised moment each one goes, while others wait for theirs.
    for due in &dues[40..] {
        assert_eq!(pair_due(&mut pace, "a", due * 1_000 + 200_000), 0);
    }
    let keys = ["a", "b"].map(|pair| format!("{}pair:{pair}", pace.prefix));
    let _: () = redis::cmd("DEL").arg(&keys).query(&mut pace.connection).unwrap();
}
