//! Whether all came as expected: events, database and phones say the same, and the balances add up.

use anyhow::Context as _;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;

use super::http;
use super::process::Ports;
use super::sample::Sample;
use super::screen::Screen;
use super::seed::Hospital;
use super::watch::Way;
use crate::credit::amount;
use crate::credit::ledger::{Balance, Proof, store as ledger_store};
use crate::notification::store::{self as notification_store, NotificationView};
use crate::tenant::{CountryCode, phone, store as tenant_store};

/// What the simulator says of a phone.
#[derive(Deserialize)]
struct Phone {
    messages: Vec<Arrived>,
}

#[derive(Deserialize)]
struct Arrived {
    wamid: String,
    text: String,
}

/// Reads what each hospital can spend.
pub(super) async fn balances(pool: &PgPool, hospitals: &[Hospital]) -> anyhow::Result<Vec<Balance>> {
    let mut balances = Vec::with_capacity(hospitals.len());
    for hospital in hospitals {
        balances.push(ledger_store::get_balance(pool, hospital.id).await?);
    }
    Ok(balances)
}

/// Compares each sample with its end; returns what differs, in sentences.
pub(super) async fn compare(
    screen: &Screen,
    pool: &PgPool,
    ports: Ports,
    samples: &[Sample],
    ways: &[Way],
) -> anyhow::Result<Vec<String>> {
    let mut differences = Vec::new();
    for (sample, way) in samples.iter().zip(ways) {
        let mut found = compare_way(sample, way);
        let tenant = tenant_store::get(pool, sample.tenant).await?;
        let view = notification_store::find(pool, tenant.id, &sample.id).await?;
        found.extend(compare_row(sample, view.as_ref()));
        found.extend(compare_phone(sample, tenant.country, view.as_ref(), ports).await?);
        screen.object(&json!({
            "tenant": sample.tenant, "id": sample.id, "kind": sample.kind, "language": sample.language,
            "statuses": way.statuses, "reason": way.reason, "expected": sample.end.status, "differences": found,
        }));
        if !found.is_empty() {
            differences.push(format!("{} {}: {}", sample.tenant, sample.id, found.join("; ")));
        }
    }
    Ok(differences)
}

fn compare_way(sample: &Sample, way: &Way) -> Vec<String> {
    let end = sample.end;
    if way.status() != end.status {
        return vec![format!("ended {} and should have ended {}", way.status(), end.status)];
    }
    match end.reason {
        Some(reason) if way.reason.as_deref() != Some(reason) => {
            vec![format!("{} for {:?} and should be for {reason}", end.status, way.reason)]
        }
        _ => Vec::new(),
    }
}

fn compare_row(sample: &Sample, view: Option<&NotificationView>) -> Vec<String> {
    let end = sample.end;
    let Some(view) = view else {
        let is_right = end.status == "rejected";
        return if is_right { Vec::new() } else { vec!["the database has no notification of it".to_owned()] };
    };
    let mut found = Vec::new();
    if (view.status.as_str(), view.reason.as_deref()) != (end.status, end.reason) {
        found.push(format!("the database says {} {:?}", view.status, view.reason));
    }
    let outcomes: Vec<&str> =
        view.attempts.iter().flatten().map(|attempt| attempt.outcome.as_deref().unwrap_or("open")).collect();
    match end.attempts {
        Some(expected) if outcomes != expected => {
            found.push(format!("its attempts were {outcomes:?} and should be {expected:?}"));
        }
        None if outcomes.len() != 1 => found.push(format!("it took the attempts {outcomes:?} and should take one")),
        _ => {}
    }
    if end.is_charged() && view.text.as_deref().is_none_or(str::is_empty) {
        found.push("the database has no text of it".to_owned());
    }
    found
}

/// Counts the messages that reached the phone: the same text twice is a patient who was told twice.
async fn compare_phone(
    sample: &Sample,
    country: CountryCode,
    view: Option<&NotificationView>,
    ports: Ports,
) -> anyhow::Result<Vec<String>> {
    let (Ok(number), Some(view)) = (phone::parse(&sample.to, country), view) else { return Ok(Vec::new()) };
    let path = format!("/_simulator/messages?to=%2B{}", number.as_str().trim_start_matches('+'));
    let phone = http::get(ports.simulator(), &path).await?;
    let phone: Phone = serde_json::from_str(&phone).context("the simulator's answer is no phone")?;
    let text = view.text.as_deref().unwrap_or_default();
    let arrived: Vec<_> = phone.messages.iter().filter(|message| message.text == text).collect();
    let mut found = Vec::new();
    if arrived.len() != sample.end.messages {
        found.push(format!("{} messages reached the phone and {} should", arrived.len(), sample.end.messages));
    }
    if let (Some(wamid), Some(message)) = (&view.wamid, arrived.first())
        && *wamid != message.wamid
    {
        found.push("the message on the phone is another one".to_owned());
    }
    Ok(found)
}

/// Shows and checks the arithmetic of each balance, and proves the ledger; returns what differs.
pub(super) async fn money(
    screen: &Screen,
    pool: &PgPool,
    hospitals: &[Hospital],
    before: &[Balance],
    samples: &[Sample],
) -> anyhow::Result<Vec<String>> {
    screen.line("");
    let mut differences = Vec::new();
    for (hospital, before) in hospitals.iter().zip(before) {
        let after = ledger_store::get_balance(pool, hospital.id).await?;
        let charged = samples.iter().filter(|sample| sample.tenant == hospital.code && sample.end.is_charged()).count();
        let expected = before.available - hospital.price * Decimal::from(charged);
        let [had, price, has] = [before.available, hospital.price, after.available].map(amount::format);
        let sum = format!("{:<15}  {had} − {charged} × {price} = {has} {}", hospital.code, hospital.currency.code());
        if after.available == expected && after.reserved == before.reserved {
            screen.success(&sum);
        } else {
            let wrong = format!(
                "{sum}: should be {}, reserved is {}",
                amount::format(expected),
                amount::format(after.reserved)
            );
            differences.push(wrong);
        }
        screen.object(&json!({
            "tenant": hospital.code, "currency": hospital.currency.code(), "before": had, "charged": charged,
            "price": price, "after": has, "expected": amount::format(expected),
        }));
    }
    let drifts: Vec<String> =
        ledger_store::verify(pool, None).await?.iter().flat_map(Proof::drifts).map(|drift| drift.to_string()).collect();
    if drifts.is_empty() {
        screen.success("the ledger adds up: every balance is what its entries say, and all accounts sum to zero");
    }
    differences.extend(drifts);
    Ok(differences)
}
