//! Nothing is sent again by guess, nothing is held for ever, and every end gives the credit back.

use rust_decimal::Decimal;
use uuid::Uuid;

use super::*;
use crate::notification::record::Movement;
use crate::render::Category;
use crate::tenant::TenantId;

const LIMITS: Limits = Limits { attempts_max: 8, unknown_window: TimeDelta::minutes(10) };
const TTL: TimeDelta = TimeDelta::hours(12);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

/// Unknown since before its window.
fn unknown() -> Record {
    let unknown_at = now() - LIMITS.unknown_window;
    Record {
        tenant_id: TenantId(Uuid::nil()),
        notification_id: Uuid::nil(),
        job_id: "REG-1".to_owned(),
        category: Category::Utility,
        status: Status::Unknown,
        reason: None,
        price_id: Some(1),
        price: Some(Decimal::ONE),
        currency: Some("IDR".to_owned()),
        held: true,
        posted: false,
        refunded: false,
        attempt: 1,
        attempt_started_at: None,
        attempts_counted: 1,
        token: "1-0".to_owned(),
        expires_at: None,
        due_at: None,
        resolve_at: Some(now()),
        seq: 2,
        wamid: None,
        billed_type: None,
        billed_category: None,
        accepted_at: None,
        sent_at: None,
        delivered_at: None,
        read_at: None,
        failed_at: None,
        unknown_at: Some(unknown_at),
    }
}

fn accepted() -> Record {
    Record {
        status: Status::Accepted,
        held: false,
        posted: true,
        accepted_at: Some(now()),
        unknown_at: None,
        resolve_at: None,
        ..unknown()
    }
}

/// The webhook reported an attempt that ended so long after ours became unknown.
fn evidence(after: TimeDelta) -> Evidence {
    let unknown_at = unknown().unknown_at.unwrap();
    Evidence {
        attempt_ended_at: Some(unknown_at + after),
        event_at: Some(now()),
        refused_at: None,
        sender_since: Some(unknown_at - TimeDelta::days(9)),
    }
}

fn resolve(record: Record, evidence: &Evidence, now: DateTime<Utc>) -> Option<Change> {
    resolve_unknown(record, evidence, TTL, second_token(now), now, LIMITS)
}

fn end(change: &Change) -> (Status, Option<&str>, Option<Movement>) {
    (change.record.status, change.record.reason.as_deref(), change.movement)
}

#[test]
fn evidence_of_absence_sends_again_with_the_credit_still_held() {
    let change = resolve(unknown(), &evidence(TimeDelta::zero()), now()).unwrap();
    assert_eq!(end(&change), (Status::Waiting, None, None));
    assert!(change.record.held && is_second(&change.record.token));
    assert_eq!((change.record.due_at, change.record.resolve_at), (Some(now()), None));
}

#[test]
fn nothing_is_sent_again_without_evidence() {
    let earlier = evidence(TimeDelta::milliseconds(-1));
    let other_sender = Evidence { sender_since: Some(now()), ..evidence(TimeDelta::minutes(1)) };
    let unconfigured = Evidence { sender_since: None, ..evidence(TimeDelta::minutes(1)) };
    let refused = Evidence { refused_at: Some(now() - TimeDelta::minutes(9)), ..evidence(TimeDelta::minutes(1)) };
    for silent in [Evidence::default(), earlier, other_sender, unconfigured, refused] {
        let change = resolve(unknown(), &silent, now()).unwrap();
        assert_eq!(end(&change), (Status::Unknown, None, None), "{silent:?}");
        assert!(change.record.held && !change.told);
        assert_eq!(change.record.resolve_at, Some(now() + TimeDelta::minutes(1)));
    }
}

#[test]
fn what_was_refused_has_come_again_a_window_later() {
    let refused = Evidence { refused_at: Some(now() - LIMITS.unknown_window), ..evidence(TimeDelta::zero()) };
    assert_eq!(resolve(unknown(), &refused, now()).unwrap().record.status, Status::Waiting);
}

#[test]
fn a_window_that_is_not_over_is_left_alone() {
    let record = Record { resolve_at: Some(now() + TimeDelta::milliseconds(1)), ..unknown() };
    assert!(resolve(record, &evidence(TimeDelta::minutes(1)), now()).is_none());
}

#[test]
fn an_outcome_that_was_settled_meanwhile_is_left_alone() {
    for status in Status::ALL.into_iter().filter(|status| *status != Status::Unknown) {
        assert!(resolve(Record { status, ..unknown() }, &evidence(TimeDelta::zero()), now()).is_none(), "{status}");
    }
}

#[test]
fn a_second_unknown_ends_voided_with_or_without_evidence() {
    for evidence in [Evidence::default(), evidence(TimeDelta::minutes(1))] {
        let record = Record { token: second_token(now()), ..unknown() };
        let change = resolve(record, &evidence, now()).unwrap();
        assert_eq!(end(&change), (Status::Failed, Some("outcome_unknown"), Some(Movement::Void)));
    }
}

#[test]
fn what_expired_is_not_sent_again_but_ends() {
    let record = Record { expires_at: Some(now()), ..unknown() };
    let change = resolve(record, &evidence(TimeDelta::zero()), now()).unwrap();
    assert_eq!(end(&change), (Status::Failed, Some("expired"), Some(Movement::Void)));
}

#[test]
fn a_day_after_the_time_to_live_a_silent_webhook_leaves_it_unresolved() {
    let over = unknown().unknown_at.unwrap() + TTL + PATIENCE;
    let change = resolve(unknown(), &Evidence::default(), over - TimeDelta::seconds(1)).unwrap();
    assert_eq!(change.record.status, Status::Unknown);
    let change = resolve(unknown(), &Evidence::default(), over).unwrap();
    assert_eq!(end(&change), (Status::Failed, Some("unresolved"), Some(Movement::Void)));
}

#[test]
fn what_meta_took_and_never_delivered_is_refunded_while_its_webhook_is_alive() {
    let over = now() + TTL + PATIENCE;
    let alive = Evidence { event_at: Some(now() + TTL), ..Evidence::default() };
    for status in [Status::Accepted, Status::Sent] {
        let record = Record { status, ..accepted() };
        let change = resolve_undelivered(record.clone(), &alive, TTL, over).unwrap();
        assert_eq!(end(&change), (Status::Failed, Some("dropped"), Some(Movement::Refund)));
        // Earlier, the time is only noted.
        let change = resolve_undelivered(record, &alive, TTL, over - TimeDelta::seconds(1)).unwrap();
        assert_eq!((change.record.status, change.record.resolve_at), (status, Some(over)));
    }
}

#[test]
fn nothing_follows_from_the_silence_of_a_webhook_that_reports_nothing() {
    let over = now() + TTL + PATIENCE;
    let before = Evidence { event_at: Some(now() + TTL - TimeDelta::seconds(1)), ..Evidence::default() };
    for silent in [Evidence::default(), before] {
        let change = resolve_undelivered(accepted(), &silent, TTL, over).unwrap();
        assert_eq!(end(&change), (Status::Accepted, None, None));
        assert_eq!(change.record.resolve_at, Some(over + SILENT_WAIT));
    }
}

#[test]
fn what_was_delivered_or_refused_is_never_dropped() {
    let alive = Evidence { event_at: Some(now() + TimeDelta::days(9)), ..Evidence::default() };
    for status in Status::ALL.into_iter().filter(|status| !matches!(status, Status::Accepted | Status::Sent)) {
        let record = Record { status, ..accepted() };
        assert!(resolve_undelivered(record, &alive, TTL, now() + TimeDelta::days(9)).is_none(), "{status}");
    }
}
