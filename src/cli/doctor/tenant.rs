//! Secrets and tenants: every stored token opens, and every tenant that shall send can.

use std::collections::HashMap;

use chrono::Utc;
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::{Args, Finding, sender, standing, store};
use crate::config::Lookup;
use crate::credit::price::{self, PriceBook, PriceKey};
use crate::render::Category;
use crate::secret::{Keyring, Sealed, SecretKeys};
use crate::tenant::{self, Configuration, Tenant};
use crate::whatsapp;

/// Messages a second that Meta allows one sender at most.
const RATE_META: u32 = 1_000;

/// Judges secrets and tenants; `args` may name one tenant.
pub(super) async fn check(pool: &PgPool, lookup: &Lookup<'_>, args: &Args) -> anyhow::Result<Vec<Finding>> {
    let mut tenants = match &args.tenant {
        Some(code) => vec![tenant::store::get(pool, code).await?],
        None => tenant::store::list_all(pool).await?,
    };
    tenants.sort_by(|left, right| left.code.cmp(&right.code));
    // What is wrong with the variable was told already.
    let keyring = SecretKeys::from_env(lookup).ok().map(|keys| Keyring::new(&keys));
    let mut findings = Vec::new();
    if let Some(keyring) = &keyring {
        findings.extend(check_secrets(pool, keyring, &tenants).await?);
    }
    let book = price::store::load(pool).await?;
    let available: HashMap<_, _> = store::list_available(pool).await?.into_iter().collect();
    let before = findings.len();
    for tenant in &tenants {
        findings.extend(judge(tenant, &book, available.get(&tenant.id).copied().unwrap_or_default()));
    }
    findings.extend(standing::check(pool, &tenants).await?);
    let clean = findings.len() == before;
    findings.push(match (tenants.len(), clean) {
        (0, _) => Finding::warn("tenants", "there is none", "add one with `kmsnotif tenant add`"),
        (count, true) => Finding::ok("tenants", format!("{count}, all ready to send")),
        (count, false) => Finding::ok("tenants", format!("{count}; those that are not ready stand above")),
    });
    if let (true, Some(keyring)) = (args.online, &keyring) {
        findings.extend(sender::check(lookup, keyring, &tenants).await?);
    }
    Ok(findings)
}

/// Opens every stored secret.
async fn check_secrets(pool: &PgPool, keyring: &Keyring, tenants: &[Tenant]) -> Result<Vec<Finding>, sqlx::Error> {
    let (mut findings, mut opened, mut older) = (Vec::new(), 0, Vec::new());
    for tenant in tenants {
        let Some(configuration) = &tenant.configuration else { continue };
        match configuration.token(keyring) {
            Ok(_) => {
                opened += 1;
                older.extend(old_key(keyring, &configuration.token.key_id));
            }
            Err(error) => findings.push(Finding::fail(
                "secret keys",
                format!("the token of {} does not open", tenant.code),
                error.to_string(),
            )),
        }
    }
    for (name, key_id, ciphertext) in store::list_service_keys(pool).await? {
        let old_key = old_key(keyring, &key_id);
        match keyring.decrypt(&Sealed { key_id, ciphertext }, name.as_bytes()) {
            Ok(_) => {
                opened += 1;
                older.extend(old_key);
            }
            Err(error) => {
                let detail = format!("the service's key {name} does not open, so no worker starts");
                findings.push(Finding::fail("secret keys", detail, error.to_string()));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("secret keys", format!("open all {opened} stored secrets")));
    }
    findings.extend(judge_old_keys(older));
    Ok(findings)
}

/// The key of a secret that awaits rotation.
fn old_key(keyring: &Keyring, key: &str) -> Option<String> {
    (key != keyring.current_key_id()).then(|| key.to_owned())
}

/// Says how many secrets that open await rotation; `keys` has the old key of each.
pub(super) fn judge_old_keys(mut keys: Vec<String>) -> Option<Finding> {
    let secrets = keys.len();
    keys.sort_unstable();
    keys.dedup();
    let detail = format!("secrets are under old keys ({secrets}): {}", keys.join(", "));
    let remedy = "run `kmsnotif secret rotate`, then remove the keys that it names";
    (secrets > 0).then(|| Finding::warn("secret keys", detail, remedy))
}

/// Judges one tenant; nothing to say when it is ready to send.
pub(super) fn judge(tenant: &Tenant, book: &PriceBook, available: Decimal) -> Vec<Finding> {
    let (check, code) = (format!("tenant {}", tenant.code), &tenant.code);
    let warn = |detail: &str, remedy: String| Finding::warn(&check, detail, remedy);
    let Some(configuration) = &tenant.configuration else {
        let remedy = format!("set it with `kmsnotif tenant whatsapp set --tenant {code} …`");
        return vec![warn("has no WhatsApp configuration", remedy)];
    };
    let mut findings = Vec::new();
    if !tenant.whatsapp_on {
        let remedy = format!("if it shall: `kmsnotif tenant set --tenant {code} --whatsapp on`");
        findings.push(warn("sends nothing: its WhatsApp_Notification switch is off", remedy));
    }
    if !configuration.active {
        let remedy = format!("if it shall: `kmsnotif tenant whatsapp set --tenant {code} … --active true`");
        findings.push(warn("sends nothing: its WhatsApp configuration is not active", remedy));
    }
    if let Some(blocked) = &configuration.blocked {
        let words = whatsapp::mask(blocked.detail.as_deref().unwrap_or("no reason given"));
        let error = blocked.code.map(|error| format!(" ({error})")).unwrap_or_default();
        let remedy = match blocked.reason.as_deref() {
            Some("payment") => {
                "have its payment method put in order at Meta; it goes on by itself within a minute".to_owned()
            }
            Some("account") => {
                "have it settled with Meta (Account quality); it goes on by itself within a minute".to_owned()
            }
            _ => format!("set a new token with `kmsnotif tenant whatsapp set --tenant {code} … < token.txt`"),
        };
        findings.push(Finding::fail(
            &check,
            format!("Meta refuses its sender since {}, its jobs wait: {words}{error}", blocked.at.format("%F %R UTC")),
            remedy,
        ));
    }
    if configuration.rate > RATE_META {
        let detail = format!("has a rate of {} a second, above Meta's {RATE_META}", configuration.rate);
        findings.push(warn(&detail, "Meta will throttle it: lower --rate".to_owned()));
    }
    findings.extend(price(tenant, configuration, book, &check));
    if available <= Decimal::ZERO {
        let remedy = "sell it credit with `kmsnotif purchase create`".to_owned();
        findings.push(warn("has no credit: what it asks for is not sent", remedy));
    } else if tenant.low_balance_threshold.is_some_and(|threshold| available < threshold) {
        findings.push(warn("has less credit than its threshold", "tell its finance department".to_owned()));
    }
    findings
}

fn price(tenant: &Tenant, configuration: &Configuration, book: &PriceBook, check: &str) -> Option<Finding> {
    let key = PriceKey { country: configuration.country, currency: tenant.currency, category: Category::Utility };
    let today = tenant.local_date(Utc::now());
    if book.in_force(key, today).is_some() {
        return None;
    }
    let (country, currency) = (configuration.country, tenant.currency.code());
    let detail = format!("no utility price of {country} in {currency} is in force: what it asks for is not sent");
    let remedy = format!(
        "set one with `kmsnotif price set --country {country} --currency {currency} --category utility --price … --effective {today}`"
    );
    Some(if tenant.whatsapp_on && configuration.active {
        Finding::fail(check, detail, remedy)
    } else {
        Finding::warn(check, detail, remedy)
    })
}
