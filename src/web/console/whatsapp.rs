//! Configuration → WhatsApp: the six fields of the product's document, Meta's ids, the rate, and the switches.
//!
//! The token goes in and never out. "Check connection" asks Meta for the sender by its id, and sends nothing.

use kmsnotif_jobs::Kind;
use serde::Serialize;

use super::ask::{Answer, Ask};
use super::field::Wrong;
use crate::secret::Secret;
use crate::tenant::{
    ConfigurationChange, CountryCode, Tenant, TenantChange, TenantError, change, currency, phone, store as tenant_store,
};
use crate::whatsapp::Part;

/// A configuration as templates see it; of the token only that there is one.
#[derive(Serialize)]
struct Shown<'a> {
    sender: String,
    phone_number_id: &'a str,
    waba_id: &'a str,
    country: String,
    rate: u32,
    active: bool,
    blocked: Option<Block<'a>>,
}

/// Why Meta refuses the sender.
#[derive(Serialize)]
struct Block<'a> {
    at: chrono::DateTime<chrono::Utc>,
    reason: Option<&'a str>,
    detail: Option<&'a str>,
}

/// The switch of a kind.
#[derive(Serialize)]
struct Switch {
    kind: &'static str,
    on: bool,
}

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    show(&ask, None).await
}

async fn show(ask: &Ask, wrong: Option<&Wrong>) -> Answer {
    let tenant = ask.tenant()?;
    let shown = tenant.configuration.as_ref().map(|configuration| Shown {
        sender: configuration.sender.as_str().to_owned(),
        phone_number_id: &configuration.phone_number_id,
        waba_id: &configuration.waba_id,
        country: configuration.country.to_string(),
        rate: configuration.rate,
        active: configuration.active,
        blocked: configuration.blocked.as_ref().map(|blocked| Block {
            at: blocked.at,
            reason: blocked.reason.as_deref(),
            detail: blocked.detail.as_deref(),
        }),
    });
    let kinds = Kind::ALL.iter().filter(|kind| **kind != Kind::AppointmentChanged);
    let switches: Vec<Switch> =
        kinds.map(|kind| Switch { kind: kind.as_str(), on: tenant.is_kind_on(*kind) }).collect();
    let page = match wrong {
        Some(wrong) => ask.refused("whatsapp.html", wrong).await?,
        None => ask.page("whatsapp.html").await?,
    };
    page.with("w", &shown)
        .with("home", &tenant.country.to_string())
        .with("whatsapp_on", &tenant.whatsapp_on)
        .with("switches", &switches)
        .show()
}

/// Reads the form; what is wrong is said by field.
fn read(ask: &Ask, tenant: &Tenant, wrong: &mut Wrong) -> Option<ConfigurationChange> {
    let (fields, texts) = (&ask.fields, ask.texts());
    let country = wrong.read(fields, "country", texts, |text| {
        text.to_uppercase().parse::<CountryCode>().map_err(|_| texts.get("wrong", "country"))
    });
    let sender = wrong.read(fields, "sender", texts, |text| {
        phone::parse_sender(text, country.unwrap_or(tenant.country)).map_err(|_| texts.get("wrong", "phone"))
    });
    let id = |text: &str, check: fn(&str) -> Result<(), TenantError>| {
        check(text).map(|()| text.to_owned()).map_err(|_| texts.get("wrong", "meta_id"))
    };
    let phone_number_id = wrong.read(fields, "phone_number_id", texts, |text| id(text, change::check_phone_number_id));
    let waba_id = wrong.read(fields, "waba_id", texts, |text| id(text, change::check_waba_id));
    let currency = wrong.read(fields, "currency", texts, |text| {
        let read = currency::parse(&text.to_uppercase()).map_err(|_| texts.get("wrong", "currency"))?;
        let own = tenant.currency;
        if read == own { Ok(read) } else { Err(texts.filled("wrong", "currency_own", &[("currency", own.code())])) }
    });
    let rate = wrong.read(fields, "rate", texts, |text| {
        let rate = text.parse::<u32>().ok().filter(|rate| change::check_rate(*rate).is_ok());
        rate.ok_or_else(|| texts.get("wrong", "rate"))
    });
    let token = fields.some("token").map(Secret::new);
    if token.is_none() && tenant.configuration.is_none() {
        wrong.say("token", texts.get("wrong", "required"));
    }
    let change = ConfigurationChange {
        sender: sender?,
        phone_number_id: phone_number_id?,
        waba_id: waba_id?,
        country: country?,
        currency: currency?,
        rate: Some(rate?),
        active: Some(fields.is_on("active")),
        token,
    };
    if let Err(TenantError::Token) = change.check() {
        wrong.say("token", texts.get("wrong", "token"));
    }
    wrong.is_empty().then_some(change)
}

/// Save.
pub(super) async fn save(ask: Ask) -> Answer {
    let tenant = ask.tenant()?;
    let mut wrong = Wrong::default();
    let Some(change) = read(&ask, tenant, &mut wrong) else { return show(&ask, Some(&wrong)).await };
    let keyring = &ask.state.console.keyring;
    tenant_store::set_configuration(ask.access()?, keyring, &tenant.code, &change, &ask.actor()).await?;
    let others = tenant_store::list_codes_of_sender(&ask.state.pool, tenant.id, &change.phone_number_id).await?;
    let to = ask.url("/whatsapp")?;
    if others.is_empty() {
        ask.done(&to, ask.texts().get("whatsapp", "saved")).await
    } else {
        ask.not_done(&to, ask.texts().get("whatsapp", "shared")).await
    }
}

/// The WhatsApp_Notification switch, as a whole and per kind.
pub(super) async fn switch(ask: Ask) -> Answer {
    let kinds = Kind::ALL.iter().copied().filter(|kind| *kind != Kind::AppointmentChanged);
    let (on, off): (Vec<Kind>, Vec<Kind>) =
        kinds.partition(|kind| ask.fields.all("kind").any(|on| on == kind.as_str()));
    let change = TenantChange {
        whatsapp_on: Some(ask.fields.is_on("whatsapp_on")),
        kinds_on: on,
        kinds_off: off,
        ..TenantChange::default()
    };
    tenant_store::update(ask.access()?, &ask.tenant()?.code, &change, &ask.actor()).await?;
    ask.done(&ask.url("/whatsapp")?, ask.texts().get("whatsapp", "switched")).await
}

/// Check connection: asks Meta what it knows of the sender that is stored.
pub(super) async fn check(ask: Ask) -> Answer {
    let (texts, to) = (ask.texts(), ask.url("/whatsapp")?);
    let console = &ask.state.console;
    let Some(configuration) = ask.tenant()?.configuration.as_ref() else {
        return ask.not_done(&to, texts.get("whatsapp", "check_first")).await;
    };
    let Ok(token) = configuration.token(&console.keyring) else {
        return ask.not_done(&to, texts.get("whatsapp", "check_sealed")).await;
    };
    match console.inquirer.phone_number(&configuration.phone_number_id, token.expose()).await {
        Ok(found) => {
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            let shown = found.display_phone_number.unwrap_or_default();
            if !shown.is_empty() && digits(&shown) != digits(configuration.sender.as_str()) {
                return ask.not_done(&to, texts.filled("whatsapp", "check_other", &[("number", &shown)])).await;
            }
            let name = found.verified_name.unwrap_or_else(|| "–".to_owned());
            let quality = found.quality_rating.unwrap_or_else(|| "–".to_owned());
            ask.done(&to, texts.filled("whatsapp", "check_good", &[("name", &name), ("quality", &quality)])).await
        }
        Err(error) => {
            // An answer that is none (the network, a time-out) blames no part.
            let key = if error.status().is_some() { remedy(error.part()) } else { "check_failed" };
            let said = error.message().to_owned();
            ask.not_done(&to, texts.filled("whatsapp", key, &[("said", &said)])).await
        }
    }
}

/// Which words tell what to do about a refusal.
pub(super) fn remedy(part: Part) -> &'static str {
    match part {
        Part::Token => "check_token",
        Part::PhoneNumberId => "check_id",
        Part::Permission => "check_permission",
        Part::Account => "check_account",
    }
}
