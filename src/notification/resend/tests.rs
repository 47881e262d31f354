//! What stands in the way of a resend, one thing at a time, and how its token is told from others.

use chrono::TimeDelta;
use kmsnotif_jobs::Language;
use sqlx::PgPool;

use super::*;
use crate::secret::{Keyring, Secret, SecretKeys};
use crate::tenant::{self, ConfigurationChange, Currency, E164};

fn candidate() -> Candidate {
    Candidate {
        id: Uuid::nil(),
        status: Status::NotSent,
        kind: Kind::RegistrationConfirmed,
        language: Language::Id,
        recipient: E164::from_stored("+6281234567890"),
        expires_at: None,
        erased: false,
        opted_out: false,
        superseded: false,
        token: "1795503600000-7".to_owned(),
    }
}

async fn configured(pool: &PgPool) -> Tenant {
    tenant::tests::add(pool, "a").await;
    let country = "ID".parse().unwrap();
    let change = ConfigurationChange {
        sender: phone::parse_sender("+62215550101", country).unwrap(),
        phone_number_id: "1001".to_owned(),
        waba_id: "2001".to_owned(),
        country,
        currency: Currency::IDR,
        rate: None,
        active: None,
        token: Some(Secret::new("token")),
    };
    let keyring = Keyring::new(&SecretKeys::parse(SecretKeys::generate("k1").unwrap().expose()).unwrap());
    tenant::store::set_configuration(pool, &keyring, "a", &change, "test").await.unwrap()
}

#[sqlx::test]
async fn what_would_be_refused_again_is_not_resent(pool: PgPool) {
    let (now, tenant) = (Utc::now(), configured(&pool).await);
    assert_eq!(candidate().obstacle(&tenant, now), None);
    for status in Status::ALL {
        let expected = match status {
            Status::NotSent | Status::Failed | Status::Unknown => None,
            Status::Waiting | Status::Sending => Some(Obstacle::UnderWay),
            Status::Accepted | Status::Sent | Status::Delivered | Status::Read => Some(Obstacle::Accepted),
        };
        assert_eq!(Candidate { status, ..candidate() }.obstacle(&tenant, now), expected, "{status}");
    }
    let erased = Candidate { erased: true, recipient: None, ..candidate() };
    assert_eq!(erased.obstacle(&tenant, now), Some(Obstacle::Erased));
    let superseded = Candidate { superseded: true, ..candidate() };
    assert_eq!(superseded.obstacle(&tenant, now), Some(Obstacle::Superseded));
    let nobody = Candidate { recipient: None, ..candidate() };
    assert_eq!(nobody.obstacle(&tenant, now), Some(Obstacle::InvalidRecipient));
    let opted_out = Candidate { opted_out: true, ..candidate() };
    assert_eq!(opted_out.obstacle(&tenant, now), Some(Obstacle::OptedOut));
    let expired = Candidate { expires_at: Some(now), ..candidate() };
    assert_eq!(expired.obstacle(&tenant, now), Some(Obstacle::Expired));
    assert_eq!(expired.obstacle(&tenant, now - TimeDelta::seconds(1)), None);

    let off = Tenant { kinds_off: vec![Kind::RegistrationConfirmed], ..tenant.clone() };
    assert_eq!(candidate().obstacle(&off, now), Some(Obstacle::EventDisabled));
    let off = Tenant { whatsapp_on: false, ..tenant.clone() };
    assert_eq!(candidate().obstacle(&off, now), Some(Obstacle::EventDisabled));
    let mut inactive = tenant.clone();
    inactive.configuration.as_mut().unwrap().active = false;
    assert_eq!(candidate().obstacle(&inactive, now), Some(Obstacle::TenantInactive));
    let unconfigured = Tenant { configuration: None, ..tenant };
    assert_eq!(candidate().obstacle(&unconfigured, now), Some(Obstacle::NotConfigured));
}

#[test]
fn candidates_stand_in_the_order_of_their_jobs() {
    let of = |token: &str| Candidate { token: token.to_owned(), ..candidate() }.place();
    assert!(of("1795503600000-9") < of("1795503600000-10") && of("999-0") < of("1000-0"));
    assert_eq!(of(&new_token(Utc::now(), true, true)).1, 0);
}

#[test]
fn a_token_says_whether_it_comes_last_and_is_no_entry_of_a_stream() {
    let (single, bulk) = (new_token(Utc::now(), false, false), new_token(Utc::now(), true, true));
    assert!(is_bulk(&bulk) && !is_bulk(&single) && !is_bulk("1795503600000-0"));
    assert!(lacked_credit(&bulk) && !lacked_credit(&single) && !lacked_credit("1795503600000-0"));
    for token in [single, bulk] {
        let (milliseconds, rest) = token.split_once('-').unwrap();
        assert!(milliseconds.parse::<i64>().is_ok() && rest.parse::<u64>().is_err(), "{token}");
    }
    assert_ne!(new_token(Utc::now(), true, false), new_token(Utc::now(), true, false));
}
