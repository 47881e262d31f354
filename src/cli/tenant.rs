//! `kmsnotif tenant …`: hospitals and clinics, their switches, and what they send with.

use std::io::{IsTerminal as _, Read as _};
use std::pin::pin;

use anyhow::{Context as _, bail};
use chrono_tz::Tz;
use clap::{ArgGroup, Args, Subcommand};
use futures::StreamExt as _;
use kmsnotif_jobs::{Kind, Language};
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::value::{self, OrNone};
use super::{Global, Output, WrongUsage, actor, tell};
use crate::config::environment;
use crate::secret::{Keyring, Secret, SecretKeys};
use crate::tenant::{
    ConfigurationChange, CountryCode, Currency, NewTenant, Offset, RemindersChange, TenantChange, Window, currency,
    email, phone, store,
};

mod erase;
mod show;

use show::TenantAnswer;

/// Subcommands of `tenant`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a hospital or clinic, with an empty account.
    Add(Box<Add>),
    /// List tenants by code.
    List(List),
    /// Show one tenant and its WhatsApp configuration.
    Show(Show),
    /// Change settings, and the WhatsApp_Notification switch as a whole or per kind.
    Set(Box<Set>),
    /// When a tenant's patients are reminded of appointments.
    #[command(subcommand)]
    Reminders(RemindersCommand),
    /// What a tenant sends with.
    #[command(subcommand)]
    Whatsapp(WhatsappCommand),
    /// Erase all that is known of a patient's phone number: the right to be forgotten.
    Erase(erase::Erase),
}

/// Subcommands of `tenant whatsapp`.
#[derive(Debug, Subcommand)]
pub enum WhatsappCommand {
    /// Set the sender; the token comes on standard input and is never shown again.
    Set(WhatsappSet),
}

/// Subcommands of `tenant reminders`.
#[derive(Debug, Subcommand)]
pub enum RemindersCommand {
    /// Set offsets, sending window and switch; what is planned is planned anew within seconds.
    Set(RemindersSet),
}

/// Flags of `tenant reminders set`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(["offsets", "window", "enabled"])))]
#[command(override_usage = "kmsnotif tenant reminders set --tenant <TENANT> [OPTIONS]")]
#[command(
    after_help = "Examples:\n  kmsnotif tenant reminders set --tenant rs-harapan --offsets 24h,2h --window 07:00-21:00\n  \
    kmsnotif tenant reminders set --tenant rs-harapan --enabled off\n\n\
    A reminder that falls outside the window goes earlier, at the end of the window before. What was enqueued stays."
)]
pub struct RemindersSet {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// How long before the appointment, 1 to 8 times from 1m to 30d (24h,2h).
    #[arg(long, value_delimiter = ',', value_name = "OFFSET,…")]
    offsets: Option<Vec<Offset>>,
    /// When patients may be reminded, in the tenant's zone; 00:00-24:00 is at any time.
    #[arg(long, value_name = "HH:MM-HH:MM")]
    window: Option<Window>,
    /// Whether patients are reminded at all: on or off.
    #[arg(long, value_parser = value::switch, value_name = "on|off")]
    enabled: Option<bool>,
}

/// Flags of `tenant add`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kmsnotif tenant add --code rs-harapan --name \"RS Harapan\" --country ID --currency IDR \\\n      \
    --time-zone Asia/Jakarta --language id --alert-email keuangan@rs-harapan.example"
)]
pub struct Add {
    /// What producers write into jobs; it never changes (rs-harapan).
    #[arg(long, value_parser = value::code)]
    code: String,
    /// The hospital's name.
    #[arg(long, value_parser = value::name)]
    name: String,
    /// Where its patients are (ISO 3166); national phone numbers are read against it.
    #[arg(long)]
    country: CountryCode,
    /// The currency of its credit (ISO 4217).
    #[arg(long, value_parser = currency::parse)]
    currency: Currency,
    /// The zone of its dates (Asia/Jakarta).
    #[arg(long, value_parser = value::time_zone)]
    time_zone: Tz,
    /// The language of messages whose job names none: id, en or fr.
    #[arg(long, default_value = "id")]
    language: Language,
    #[command(flatten)]
    settings: Settings,
}

/// Flags that `tenant add` and `tenant set` share.
#[derive(Debug, Args)]
struct Settings {
    /// Where alerts go; `none` for nowhere.
    #[arg(long, value_parser = value::email_or_none)]
    alert_email: Option<OrNone>,
    /// Whom purchases concern, as a phone number; `none` for nobody.
    #[arg(long)]
    finance_phone: Option<OrNone>,
    /// Warn when available credit falls below this amount; `none` for never.
    #[arg(long, value_parser = value::threshold_or_none, allow_hyphen_values = true)]
    low_balance_threshold: Option<OrNone>,
    /// Days until a notification's patient data is erased; 365 for a new tenant.
    #[arg(long, value_parser = value::retention, allow_hyphen_values = true)]
    retention_days: Option<i32>,
    /// The WhatsApp_Notification switch as a whole: on or off.
    #[arg(long, value_parser = value::switch, value_name = "on|off")]
    whatsapp: Option<bool>,
    /// The switch of one kind; may be given several times.
    #[arg(long = "kind", value_parser = value::kind_switch, value_name = "KIND=on|off")]
    kinds: Vec<(Kind, bool)>,
}

impl Settings {
    fn change(&self, country: CountryCode) -> anyhow::Result<TenantChange> {
        let kinds = |on: bool| self.kinds.iter().filter(|(_, state)| *state == on).map(|(kind, _)| *kind).collect();
        if let Some((kind, _)) = self.kinds.iter().find(|(kind, on)| self.kinds.contains(&(*kind, !on))) {
            return Err(WrongUsage(format!("{kind} is given as on and as off: give it once")).into());
        }
        let threshold = |text: &str| -> anyhow::Result<Decimal> { Ok(value::decimal(text)?) };
        Ok(TenantChange {
            alert_email: self.alert_email.as_ref().map(|value| value.read(email::parse)).transpose()?,
            finance_phone: self
                .finance_phone
                .as_ref()
                .map(|value| value.read(|text| phone::parse(text, country)))
                .transpose()
                .map_err(|error| WrongUsage(format!("--finance-phone: {error}")))?,
            low_balance_threshold: self
                .low_balance_threshold
                .as_ref()
                .map(|value| value.read(threshold))
                .transpose()?,
            retention_days: self.retention_days,
            whatsapp_on: self.whatsapp,
            kinds_on: kinds(true),
            kinds_off: kinds(false),
            ..TenantChange::default()
        })
    }
}

/// Flags of `tenant list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif tenant list --json")]
pub struct List {
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

/// Flags of `tenant show`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif tenant show --tenant rs-harapan")]
pub struct Show {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
}

/// Flags of `tenant set`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args([
    "name", "country", "currency", "time_zone", "language", "alert_email", "finance_phone", "low_balance_threshold",
    "retention_days", "whatsapp", "kinds",
])))]
// Clap's own names all eleven of the group.
#[command(override_usage = "kmsnotif tenant set --tenant <TENANT> [OPTIONS]")]
#[command(
    after_help = "Example:\n  kmsnotif tenant set --tenant rs-harapan --whatsapp on --kind consultation_reminder=off"
)]
pub struct Set {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The hospital's name.
    #[arg(long, value_parser = value::name)]
    name: Option<String>,
    /// Where its patients are (ISO 3166).
    #[arg(long)]
    country: Option<CountryCode>,
    /// The currency of its credit (ISO 4217); refused while there is credit.
    #[arg(long, value_parser = currency::parse)]
    currency: Option<Currency>,
    /// The zone of its dates (Asia/Jakarta).
    #[arg(long, value_parser = value::time_zone)]
    time_zone: Option<Tz>,
    /// The language of messages whose job names none: id, en or fr.
    #[arg(long)]
    language: Option<Language>,
    #[command(flatten)]
    settings: Settings,
}

/// Flags of `tenant whatsapp set`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif tenant whatsapp set --tenant rs-harapan --sender +62215550101 \\\n      \
    --phone-number-id 1001 --waba-id 2001 --country ID --currency IDR \\\n      \
    --active true --rate 80 < token.txt\n\n\
    Nothing on standard input keeps the token that is stored. A sender that Meta had blocked is tried again.")]
pub struct WhatsappSet {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The WhatsApp business phone number.
    #[arg(long)]
    sender: String,
    /// Meta's id of the sender.
    #[arg(long, value_parser = value::phone_number_id)]
    phone_number_id: String,
    /// Meta's id of the WhatsApp business account.
    #[arg(long, value_parser = value::waba_id)]
    waba_id: String,
    /// Prices of this country count where the recipient's has none (ISO 3166).
    #[arg(long)]
    country: CountryCode,
    /// The tenant's currency (ISO 4217).
    #[arg(long, value_parser = currency::parse)]
    currency: Currency,
    /// Whether the tenant sends [default: as it was; true for a new one].
    #[arg(long, value_name = "true|false")]
    active: Option<bool>,
    /// Messages a second that Meta allows this sender [default: as it was; 80 for a new one].
    #[arg(long, value_parser = value::rate, allow_hyphen_values = true)]
    rate: Option<u32>,
    /// Keep the token that is stored and read no other.
    #[arg(long)]
    keep_token: bool,
}

/// Runs a subcommand of `tenant`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::Add(args) => output.one(&TenantAnswer::of(&add(*args, pool).await?))?,
        Command::List(args) => {
            let mut tenants = pin!(store::list(pool, args.limit));
            while let Some(tenant) = tenants.next().await {
                output.row(&TenantAnswer::of(&tenant?))?;
            }
        }
        Command::Show(args) => output.one(&TenantAnswer::of(&store::get(pool, &args.tenant).await?))?,
        Command::Set(args) => output.one(&TenantAnswer::of(&set(*args, pool).await?))?,
        Command::Reminders(RemindersCommand::Set(args)) => {
            let change = RemindersChange { on: args.enabled, offsets: args.offsets, window: args.window };
            let tenant = store::set_reminders(pool, &args.tenant, &change, &actor()).await?;
            output.one(&TenantAnswer::of(&tenant))?;
        }
        Command::Whatsapp(WhatsappCommand::Set(args)) => {
            output.one(&TenantAnswer::of(&set_whatsapp(args, pool).await?))?;
        }
        Command::Erase(args) => erase::run(args, global, pool, &mut output).await?,
    }
    Ok(output.finish()?)
}

async fn add(args: Add, pool: &PgPool) -> anyhow::Result<crate::tenant::Tenant> {
    let settings = args.settings.change(args.country)?;
    let Add { code, name, country, currency, time_zone, language, .. } = args;
    Ok(store::insert(pool, &NewTenant { code, name, country, currency, time_zone, language, settings }, &actor())
        .await?)
}

async fn set(args: Set, pool: &PgPool) -> anyhow::Result<crate::tenant::Tenant> {
    let country = match args.country {
        Some(country) => country,
        None => store::get(pool, &args.tenant).await?.country,
    };
    let change = TenantChange {
        name: args.name,
        country: args.country,
        currency: args.currency,
        time_zone: args.time_zone,
        language: args.language,
        ..args.settings.change(country)?
    };
    Ok(store::update(pool, &args.tenant, &change, &actor()).await?)
}

async fn set_whatsapp(args: WhatsappSet, pool: &PgPool) -> anyhow::Result<crate::tenant::Tenant> {
    let keyring = Keyring::new(&SecretKeys::from_env(&environment)?);
    let token = if args.keep_token { None } else { read_token()? };
    let change = ConfigurationChange {
        sender: phone::parse_sender(&args.sender, args.country)
            .map_err(|error| WrongUsage(format!("--sender: {error}")))?,
        phone_number_id: args.phone_number_id,
        waba_id: args.waba_id,
        country: args.country,
        currency: args.currency,
        rate: args.rate,
        active: args.active,
        token,
    };
    let tenant = store::set_configuration(pool, &keyring, &args.tenant, &change, &actor()).await?;
    let others = store::list_codes_of_sender(pool, tenant.id, &change.phone_number_id).await?;
    if !others.is_empty() {
        tell(&format!(
            "warning: the phone number id {} is also that of {}: patients see one sender for both, and its pace and its blocks are not shared; give each tenant its own",
            change.phone_number_id,
            others.join(", ")
        ));
    }
    Ok(tenant)
}

/// Reads the token from standard input; none if there is nothing.
fn read_token() -> anyhow::Result<Option<Secret>> {
    /// More than any token has, so that a wrong file is refused and not stored.
    const BYTES_MAX: u64 = 64 * 1024;
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        // Typed here it would stand on the screen and in the terminal's memory.
        bail!("the token comes on standard input: add `< token.txt`, or --keep-token to keep the one that is stored");
    }
    let mut text = String::new();
    stdin.take(BYTES_MAX).read_to_string(&mut text).context("cannot read the token from standard input")?;
    let token = text.trim();
    if token.is_empty() {
        tell("nothing came on standard input: the token that is stored is kept");
    }
    Ok((!token.is_empty()).then(|| Secret::new(token)))
}
