//! Any sequence of reserve, post, void, refund, grant, crash and repeat, through the code that decides:
//! the sum over all accounts stays zero, nothing falls below zero, and each reservation ends once.
//!
//! As many cases as `PROPTEST_CASES` says: `PROPTEST_CASES=1000000 cargo test --release --lib any_sequence`.

use proptest::prelude::*;

use super::*;
use crate::notification::lifecycle::resolution::{Evidence, resolve_undelivered, resolve_unknown, second_token};

/// What may happen to a notification, in any order and any number of times.
#[derive(Debug, Clone)]
enum Happening {
    Answer(Answer),
    /// Of the latest attempt, or of the one before it.
    Report(Reported, Option<(&'static str, &'static str)>, i32),
    /// So many hours later nobody has told us the outcome; the webhook proves that it reports, or does not.
    Resolve(i64, bool),
    Crash,
    Retry,
    GiveUp,
    /// An operator's resend: the one step backwards.
    Resend,
}

/// What becomes of the transaction that writes a step.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Committed,
    /// A crash before the commit: as if it had never been decided.
    Lost,
    /// A crash after the commit, before anybody was told: the same is done again.
    Repeated,
}

#[derive(Debug, Clone)]
enum Step {
    Grant(i64),
    Adjust(i64),
    /// A new notification of this price, in millionths.
    Reserve(i64),
    Happen(usize, Happening, Fate),
}

fn happening() -> impl Strategy<Value = Happening> {
    let class = prop::sample::select(vec![
        Class::Rejected,
        Class::Template,
        Class::Throttled(crate::whatsapp::Scope::App),
        Class::Unavailable,
        Class::Unknown,
        Class::SenderBlocked,
        Class::Wait,
    ]);
    let status = prop::sample::select(vec![Reported::Sent, Reported::Delivered, Reported::Read, Reported::Failed]);
    let pricing = prop::sample::select(vec![
        None,
        Some(("regular", "utility")),
        Some(("regular", "marketing")),
        Some(("free_customer_service", "utility")),
    ]);
    prop_oneof![
        2 => Just(Happening::Answer(accepted())),
        2 => class.prop_map(|class| Happening::Answer(failed(class))),
        4 => (status, pricing, prop_oneof![3 => Just(0), 1 => Just(1)])
            .prop_map(|(status, pricing, before)| Happening::Report(status, pricing, before)),
        2 => (prop::sample::select(vec![1, 100]), any::<bool>()).prop_map(|(hours, proven)| Happening::Resolve(hours, proven)),
        1 => Just(Happening::Crash),
        1 => Just(Happening::Retry),
        1 => Just(Happening::GiveUp),
        1 => Just(Happening::Resend),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![2 => Just(Fate::Committed), 1 => Just(Fate::Lost), 1 => Just(Fate::Repeated)];
    prop_oneof![
        1 => (0..2_000_000_000_i64).prop_map(Step::Grant),
        1 => (-500_000_000..500_000_000_i64).prop_map(Step::Adjust),
        3 => (0..900_000_000_i64).prop_map(Step::Reserve),
        12 => (0..8_usize, happening(), fate).prop_map(|(of, what, fate)| Step::Happen(of, what, fate)),
    ]
}

/// `available` is what a resent notification may reserve from.
fn apply(record: &Record, happening: &Happening, available: Decimal) -> Option<Change> {
    let (number, record) = (record.attempt, record.clone());
    match happening {
        Happening::Answer(answer) => answered(record, number, answer, now(), LIMITS),
        Happening::Report(status, pricing, before) => {
            let billed = pricing.map(|(kind, category)| (kind.to_owned(), category.to_owned())).unzip();
            let report = Report {
                attempt: Some(number - before),
                billed_type: billed.0,
                billed_category: billed.1,
                ..report(*status)
            };
            reported(record, &report, now())
        }
        Happening::Resolve(hours, proven) => {
            let now = now() + TimeDelta::hours(*hours);
            let proof = proven.then_some(now);
            let evidence = Evidence {
                attempt_ended_at: proof,
                event_at: proof,
                refused_at: None,
                sender_since: Some(DateTime::UNIX_EPOCH),
            };
            let ttl = TimeDelta::hours(12);
            match record.status {
                Status::Unknown => resolve_unknown(record, &evidence, ttl, second_token(now), now, LIMITS),
                _ => resolve_undelivered(record, &evidence, ttl, now),
            }
        }
        // The same conditions under which admission makes these steps.
        Happening::Crash => (record.status == Status::Sending).then(|| crashed(record, now(), LIMITS)),
        Happening::Retry if record.status != Status::Waiting => None,
        Happening::Retry if record.held => Some(attempt_again(record, now())),
        Happening::Retry => {
            let mut change = attempt_again(Record { posted: false, refunded: false, ..record }, now());
            reserve(&mut change, &mut available.clone()).then_some(change)
        }
        Happening::Resend => resent(record, "2-r0".to_owned(), now()),
        Happening::GiveUp => (record.status == Status::Waiting).then(|| give_up(record, Reason::Cancelled, now())),
    }
}

/// One tenant: its account, and what became of every reservation.
#[derive(Default)]
struct World {
    available: Decimal,
    reserved: Decimal,
    spent: Decimal,
    /// The contra accounts.
    given: Decimal,
    notifications: Vec<(Record, Vec<Movement>)>,
}

impl World {
    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Grant(millionths) | Step::Adjust(millionths) => {
                let change = Decimal::new(*millionths, 6);
                // The CHECK of the database; tests of the store show that it holds.
                if self.available + change >= Decimal::ZERO {
                    self.available += change;
                    self.given -= change;
                }
            }
            Step::Reserve(millionths) => {
                let record = Record { price: Some(Decimal::new(*millionths, 6)), held: false, ..sending() };
                let mut change = Change::of(record);
                let mut available = self.available;
                if reserve(&mut change, &mut available) {
                    self.notifications.push((change.record.clone(), Vec::new()));
                    self.commit(self.notifications.len() - 1, change)?;
                }
            }
            Step::Happen(of, happening, fate) => {
                let Some(of) = of.checked_rem(self.notifications.len()) else { return Ok(()) };
                let times = match fate {
                    Fate::Lost => 0,
                    Fate::Committed => 1,
                    Fate::Repeated => 2,
                };
                for _ in 0..times {
                    if let Some(change) = apply(&self.notifications[of].0, happening, self.available) {
                        self.commit(of, change)?;
                        if matches!(happening, Happening::Resend) {
                            // What ended before is over: nothing of it is held or spent, and a new reservation begins.
                            let movements = &mut self.notifications[of].1;
                            prop_assert!(!matches!(movements.as_slice(), [Movement::Reserve] | [.., Movement::Post]));
                            movements.clear();
                        }
                    }
                }
            }
        }
        self.check()
    }

    fn commit(&mut self, of: usize, change: Change) -> Result<(), TestCaseError> {
        let (before, movements) = &mut self.notifications[of];
        let after = change.record;
        if let Some(movement) = change.movement {
            let [available, reserved, spent] = movement.changes(after.price.unwrap());
            self.available += available;
            self.reserved += reserved;
            self.spent += spent;
            movements.push(movement);
        }
        prop_assert_eq!(change.told, after.status != before.status);
        prop_assert_eq!(after.seq - before.seq, i32::from(change.told));
        if matches!(before.status, Status::Delivered | Status::Read) {
            prop_assert!(after.status >= before.status && after.status <= Status::Read);
        }
        *before = after;
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        use Movement::{Post, Refund, Reserve, Void};
        prop_assert_eq!(self.available + self.reserved + self.spent + self.given, Decimal::ZERO);
        prop_assert!(self.available >= Decimal::ZERO && self.reserved >= Decimal::ZERO);
        let (mut held, mut spent) = (Decimal::ZERO, Decimal::ZERO);
        for (record, movements) in &self.notifications {
            let price = record.price.unwrap();
            match movements.as_slice() {
                [Reserve] => held += price,
                [Reserve, Post] => spent += price,
                // None: resent, and not admitted again yet.
                [] | [Reserve, Void] | [Reserve, Post, Refund] => {}
                other => prop_assert!(false, "a reservation ends once, and is refunded once: {other:?}"),
            }
            prop_assert_eq!(record.held, movements.len() == 1);
            if !movements.is_empty() {
                let flags = (movements.contains(&Post), movements.contains(&Refund));
                prop_assert_eq!((record.posted, record.refunded), flags);
            }
            let resent = record.status == Status::Waiting && !record.held;
            prop_assert!(record.status.is_open() == record.held || resent, "open, or held, and not both: {record:?}");
            let looked_at = record.due_at.or(record.resolve_at).is_some();
            let taken_on = matches!(record.status, Status::Accepted | Status::Sent);
            prop_assert!(record.status.is_open() == looked_at || taken_on, "who would go on with it? {record:?}");
            prop_assert!(!(record.posted && !record.refunded && (record.is_free() || record.status == Status::Failed)));
        }
        prop_assert_eq!((self.reserved, self.spent), (held, spent));
        Ok(())
    }
}

/// 10,000 cases, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    if asked { ProptestConfig::default() } else { ProptestConfig::with_cases(10_000) }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn any_sequence_keeps_the_sum_zero_and_ends_each_reservation_once(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::default();
        for step in &steps {
            world.take(step)?;
        }
        // What is still open when all is said ends too.
        for of in 0..world.notifications.len() {
            world.take(&Step::Happen(of, Happening::Retry, Fate::Committed))?;
            world.take(&Step::Happen(of, Happening::Answer(failed(Class::Rejected)), Fate::Repeated))?;
        }
        prop_assert!(world.notifications.iter().all(|(record, _)| !record.held) && world.reserved.is_zero());
    }
}
