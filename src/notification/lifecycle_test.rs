//! Whatever happens to a notification, in whatever order: the money follows, and nothing moves twice.

use proptest::prelude::*;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::*;
use crate::notification::record::Movement;
use crate::tenant::TenantId;

const LIMITS: Limits = Limits { attempts_max: 3, unknown_window: TimeDelta::minutes(10) };

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

/// A notification in its first attempt, its price held.
fn sending() -> Record {
    Record {
        tenant_id: TenantId(Uuid::nil()),
        notification_id: Uuid::nil(),
        job_id: "REG-1".to_owned(),
        status: Status::Sending,
        reason: None,
        price_id: Some(1),
        price: Some(Decimal::new(35_665, 2)),
        currency: Some("IDR".to_owned()),
        held: true,
        posted: false,
        refunded: false,
        attempt: 1,
        attempt_started_at: Some(now()),
        attempts_counted: 0,
        token: "1-0".to_owned(),
        expires_at: None,
        due_at: Some(now()),
        seq: 1,
        wamid: None,
        template: None,
        message: None,
        billed_type: None,
        billed_category: None,
        accepted_at: None,
        sent_at: None,
        delivered_at: None,
        read_at: None,
        failed_at: None,
        unknown_at: None,
    }
}

fn failed(class: Class) -> Answer {
    Answer::Failed(SendError::new(class, "refused"))
}

fn accepted() -> Answer {
    Answer::Accepted { wamid: "wamid.1".to_owned() }
}

fn report(status: Reported) -> Report {
    Report {
        status,
        at: now(),
        attempt: Some(1),
        wamid: "wamid.1".to_owned(),
        error_code: (status == Reported::Failed).then_some(131_026),
        error: None,
        billed_type: None,
        billed_category: None,
    }
}

fn answer(record: Record, answer: &Answer) -> Change {
    answered(record, 1, answer, now(), LIMITS).expect("the answer counts")
}

#[test]
fn an_accepted_message_is_paid_for_once() {
    let change = answer(sending(), &accepted());
    assert_eq!((change.record.status, change.movement), (Status::Accepted, Some(Movement::Post)));
    assert!(answered(change.record, 1, &accepted(), now(), LIMITS).is_none(), "the same answer again changes nothing");
}

#[test]
fn a_refusal_gives_the_reservation_back() {
    let change = answer(sending(), &failed(Class::Rejected));
    assert_eq!((change.record.status, change.movement), (Status::Failed, Some(Movement::Void)));
    assert_eq!(change.record.reason.as_deref(), Some("rejected"));
}

#[test]
fn an_unknown_outcome_keeps_the_reservation_and_is_not_due_for_a_retry() {
    let change = answer(sending(), &failed(Class::Unknown));
    assert_eq!((change.record.status, change.movement, change.record.held), (Status::Unknown, None, true));
    let late = answered(change.record, 1, &accepted(), now(), LIMITS).expect("a late answer counts");
    assert_eq!((late.record.status, late.movement), (Status::Accepted, Some(Movement::Post)));
}

#[test]
fn a_crash_while_sending_is_unknown_and_its_late_answer_still_counts() {
    let change = crashed(sending(), now(), LIMITS);
    assert_eq!((change.record.status, change.record.held), (Status::Unknown, true));
    assert_eq!(change.attempt.as_ref().unwrap().end.outcome, "unknown");
    let late = answered(change.record, 1, &failed(Class::Rejected), now(), LIMITS).expect("a late answer counts");
    assert_eq!((late.record.status, late.movement), (Status::Failed, Some(Movement::Void)));
}

#[test]
fn throttled_attempts_do_not_count_and_unavailable_ones_run_out() {
    let mut record = sending();
    for class in [Class::Throttled(crate::whatsapp::Scope::Number), Class::Unavailable, Class::SenderBlocked] {
        let change = answered(record, 0, &failed(class), now(), LIMITS);
        assert!(change.is_none(), "an answer to another attempt does not count");
        record = sending();
    }
    for number in 1..=2 {
        let change = answered(record, number, &failed(Class::Unavailable), now(), LIMITS).unwrap();
        assert_eq!((change.record.status, change.record.held), (Status::Waiting, true));
        record = attempt_again(change.record, now()).record;
    }
    let throttled = failed(Class::Throttled(crate::whatsapp::Scope::Pair));
    let change = answered(record, 3, &throttled, now(), LIMITS).unwrap();
    assert_eq!((change.record.status, change.record.attempts_counted), (Status::Waiting, 2));
    record = attempt_again(change.record, now()).record;
    let change = answered(record, 4, &failed(Class::Unavailable), now(), LIMITS).unwrap();
    assert_eq!(change.record.reason.as_deref(), Some("attempts_exhausted"));
    assert_eq!(change.movement, Some(Movement::Void));
}

#[test]
fn what_would_wait_beyond_its_expiry_fails_at_once() {
    let record = Record { expires_at: Some(now() + TimeDelta::milliseconds(500)), ..sending() };
    let change = answer(record, &failed(Class::SenderBlocked));
    assert_eq!(change.record.reason.as_deref(), Some("expired"));
    assert_eq!(change.movement, Some(Movement::Void));
}

#[test]
fn an_event_of_an_earlier_attempt_charges_nobody() {
    let record = Record { attempt: 2, ..sending() };
    assert!(reported(record, &report(Reported::Delivered), now()).is_none());
}

/// An operator's resend, and admission with enough credit.
fn resend(record: Record) -> Record {
    resent(record, "2-r0".to_owned(), now()).expect("it may be resent").record
}

fn admitted(record: Record) -> Change {
    let mut change = attempt_again(Record { held: true, ..record }, now());
    change.movement = Some(Movement::Reserve);
    change
}

#[test]
fn a_resend_of_an_unknown_one_voids_what_it_held_and_begins_anew() {
    let unknown = Record { attempts_counted: 2, ..crashed(sending(), now(), LIMITS).record };
    let change = resent(unknown, "2-r0".to_owned(), now()).unwrap();
    assert_eq!(
        (change.record.status, change.movement, change.record.held),
        (Status::Waiting, Some(Movement::Void), false)
    );
    assert_eq!((change.record.token.as_str(), change.record.due_at), ("2-r0", Some(now())));
    assert_eq!((change.record.attempt, change.record.attempts_counted, change.told), (1, 0, true));
    let again = admitted(change.record);
    assert_eq!((again.record.attempt, again.record.status), (2, Status::Sending));
    assert!(answered(again.record, 1, &accepted(), now(), LIMITS).is_none(), "the first attempt counts no longer");
}

#[test]
fn what_is_under_way_or_was_accepted_is_not_resent() {
    for status in Status::ALL {
        let record = Record { status, held: false, attempt_started_at: None, ..sending() };
        let resendable = matches!(status, Status::NotSent | Status::Failed | Status::Unknown);
        assert_eq!(resent(record, "2-r0".to_owned(), now()).is_some(), resendable, "{status}");
    }
}

#[test]
fn late_events_of_the_attempt_before_do_not_end_a_resend_but_an_arrival_does() {
    let failed = answer(sending(), &failed(Class::Rejected)).record;
    let waiting = resend(failed);
    for status in [Reported::Failed, Reported::Sent] {
        assert!(reported(waiting.clone(), &report(status), now()).is_none(), "{status:?}");
    }
    assert!(answered(waiting.clone(), 1, &accepted(), now(), LIMITS).is_none(), "a late answer changes nothing");
    let arrived = reported(waiting, &report(Reported::Delivered), now()).unwrap();
    assert_eq!((arrived.record.status, arrived.movement, arrived.record.due_at), (Status::Delivered, None, None));
}

/// What may happen to a notification, in any order and any number of times.
#[derive(Debug, Clone)]
enum Happening {
    Resend,
    Answer(Answer),
    Report(Reported),
    Crash,
    Retry,
    GiveUp,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        Just(Happening::Answer(accepted())),
        prop::sample::select(vec![
            Class::Rejected,
            Class::Template,
            Class::Throttled(crate::whatsapp::Scope::App),
            Class::Unavailable,
            Class::Unknown,
            Class::SenderBlocked,
            Class::Wait,
        ])
        .prop_map(|class| Happening::Answer(failed(class))),
        prop::sample::select(vec![Reported::Sent, Reported::Delivered, Reported::Read, Reported::Failed])
            .prop_map(Happening::Report),
        Just(Happening::Resend),
        Just(Happening::Crash),
        Just(Happening::Retry),
        Just(Happening::GiveUp),
    ]
}

fn apply(record: &Record, happening: &Happening) -> Option<Change> {
    let (number, record) = (record.attempt, record.clone());
    match happening {
        Happening::Answer(answer) => answered(record, number, answer, now(), LIMITS),
        Happening::Report(status) => reported(record, &Report { attempt: Some(number), ..report(*status) }, now()),
        // The same conditions under which admission makes these steps.
        Happening::Crash => (record.status == Status::Sending).then(|| crashed(record, now(), LIMITS)),
        Happening::Resend => resent(record, "2-r0".to_owned(), now()),
        Happening::Retry if record.status != Status::Waiting => None,
        Happening::Retry if record.held => Some(attempt_again(record, now())),
        Happening::Retry => Some(admitted(record)),
        Happening::GiveUp => (record.status == Status::Waiting).then(|| give_up(record, Reason::Cancelled, now())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn a_reservation_ends_exactly_once_whatever_happens(happenings in prop::collection::vec(happening(), 1..40)) {
        let mut record = sending();
        let (mut held, mut posted, mut refunded) = (1, 0, 0);
        for happening in &happenings {
            let Some(change) = apply(&record, happening) else { continue };
            match change.movement {
                Some(Movement::Post) => (held, posted) = (held - 1, posted + 1),
                Some(Movement::Void) => held -= 1,
                Some(Movement::Refund) => refunded += 1,
                Some(Movement::Reserve) => held += 1,
                None => {}
            }
            if matches!(happening, Happening::Resend) {
                // What ended before is over: a post, if there was one, was refunded.
                prop_assert_eq!((held, posted), (0, refunded));
                (posted, refunded) = (0, 0);
            }
            prop_assert!(held >= 0 && posted <= 1 && refunded <= posted, "{held} {posted} {refunded}");
            prop_assert!(held <= 1);
            prop_assert_eq!(change.record.held, held == 1);
            prop_assert_eq!(change.record.status.is_open(), change.record.due_at.is_some(), "{:?}", change.record);
            prop_assert!(change.record.status.is_open() || !change.record.held, "closed with credit held");
            prop_assert_eq!(change.told, change.record.status != record.status);
            prop_assert_eq!(change.record.seq - record.seq, i32::from(change.told));
            if matches!(record.status, Status::Delivered | Status::Read) {
                prop_assert!(change.record.status >= record.status && change.record.status <= Status::Read);
            }
            record = change.record;
        }
    }
}
