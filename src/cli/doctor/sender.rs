//! Senders: what Meta says of each, asked with the tenant's own id and token. Nothing is sent.

use futures::StreamExt as _;

use super::Finding;
use crate::config::{Lookup, WhatsAppConfig};
use crate::secret::Keyring;
use crate::tenant::{Configuration, Tenant};
use crate::whatsapp::{self, Class, Client, Part, PhoneNumber, SendError, Sender};

/// Senders asked about at once.
const AT_ONCE: usize = 8;

/// Asks the Cloud API about every sender whose token opens; what is wrong with variables and keys was told already.
pub(super) async fn check(lookup: &Lookup<'_>, keyring: &Keyring, tenants: &[Tenant]) -> anyhow::Result<Vec<Finding>> {
    let Ok(config) = WhatsAppConfig::from_env(lookup) else { return Ok(Vec::new()) };
    let place = config.api_url.to_string();
    let mut options = whatsapp::Options::new(config.api_url, config.api_version);
    options.read_timeout = config.read_timeout;
    let client = Client::new(options)?;
    let asked = tenants.iter().filter_map(|tenant| {
        let configuration = tenant.configuration.as_ref()?;
        Some((tenant, configuration, configuration.token(keyring).ok()?))
    });
    let answers = asked.map(|(tenant, configuration, token)| {
        let (client, place) = (&client, &place);
        async move {
            let sender = Sender { phone_number_id: &configuration.phone_number_id, token: token.expose() };
            match client.phone_number(&sender).await {
                Ok(found) => judge(tenant, configuration, found),
                Err(error) => refused(tenant, configuration, &error, place),
            }
        }
    });
    Ok(futures::stream::iter(answers).buffered(AT_ONCE).collect().await)
}

fn name(tenant: &Tenant) -> String {
    format!("sender of {}", tenant.code)
}

/// The command that sets a sender, as it is set now but for what `change` says.
fn set(tenant: &Tenant, configuration: &Configuration, phone_number_id: &str, token: &str) -> String {
    let Configuration { waba_id, country, currency, .. } = configuration;
    let sender = configuration.sender.as_str();
    format!(
        "`kmsnotif tenant whatsapp set --tenant {} --sender {sender} --phone-number-id {phone_number_id} \
         --waba-id {waba_id} --country {country} --currency {} {token}`",
        tenant.code,
        currency.code()
    )
}

/// Judges what Meta knows under the sender's id.
fn judge(tenant: &Tenant, configuration: &Configuration, found: PhoneNumber) -> Finding {
    let (check, id) = (name(tenant), &configuration.phone_number_id);
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    // Meta writes some countries' numbers in its own way, so a difference is no proof.
    if let Some(shown) =
        found.display_phone_number.filter(|shown| digits(shown) != digits(configuration.sender.as_str()))
    {
        return Finding::warn(
            check,
            format!(
                "Meta knows the phone number id {id} as {shown}, and its sender is {}",
                configuration.sender.as_str()
            ),
            format!("copy both from WhatsApp Manager, then {}", set(tenant, configuration, "…", "--keep-token")),
        );
    }
    let name = found.verified_name.unwrap_or_else(|| "no verified name".to_owned());
    let quality = found.quality_rating.unwrap_or_else(|| "unknown".to_owned());
    Finding::ok(check, format!("Meta knows {} as {name}, quality {quality}", configuration.sender.as_str()))
}

/// Says why Meta was not, or did not, answer for a sender. One that shall not send yet is no failure.
fn refused(tenant: &Tenant, configuration: &Configuration, error: &SendError, place: &str) -> Finding {
    let (check, id) = (name(tenant), &configuration.phone_number_id);
    let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
    let said = format!("{}{code}", error.message());
    let (detail, remedy) = match (error.class(), error.part()) {
        (Class::SenderBlocked | Class::Rejected, Part::Token) => (
            format!("Meta does not take its token: {said}"),
            format!("make a new token at Meta, then {}", set(tenant, configuration, id, "< token.txt")),
        ),
        (Class::SenderBlocked | Class::Rejected, Part::PhoneNumberId) => (
            format!("Meta shows no phone number id {id} to its token: {said}"),
            format!(
                "copy the id from WhatsApp Manager, or take a token of that account, then {}",
                set(tenant, configuration, "…", "< token.txt")
            ),
        ),
        (Class::SenderBlocked | Class::Rejected, Part::Permission) => (
            format!("its token may not use the phone number id {id}: {said}"),
            "give the token's system user at Meta the WhatsApp account, with whatsapp_business_messaging and \
             whatsapp_business_management"
                .to_owned(),
        ),
        (Class::SenderBlocked | Class::Rejected, Part::Account) => (
            format!("Meta refuses it: {said}"),
            format!(
                "put the account in order in WhatsApp Manager, then {}",
                set(tenant, configuration, id, "--keep-token")
            ),
        ),
        (Class::Throttled(_) | Class::Wait, _) => {
            return Finding::warn(check, format!("Meta wants no more questions now: {said}"), "try again later");
        }
        _ => (
            format!("Meta could not be asked: {said}"),
            format!("check WHATSAPP_API_URL ({place}) and the way to it, then try again"),
        ),
    };
    if tenant.whatsapp_on && configuration.active {
        Finding::fail(check, detail, remedy)
    } else {
        Finding::warn(check, detail, remedy)
    }
}
