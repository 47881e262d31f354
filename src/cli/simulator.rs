//! `kmsnotif simulator`: a Cloud API to try the product against, with the templates of this version.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use url::Url;

use super::process::terminated;
use crate::config::{app_secrets, environment, parse_duration};
use crate::render::{Template, Templates, creation_payload};
use crate::simulator::{KnownTemplate, Options, Sender, Simulator, TemplateState, TokenCheck, fault_table};

const EXAMPLES: &str = "Examples:\n  WHATSAPP_APP_SECRET=… kmsnotif simulator --status-delay 1s\n  \
    WHATSAPP_API_URL=http://127.0.0.1:8001 kmsnotif worker\n  \
    SMTP_URL=smtp://127.0.0.1:8025 kmsnotif scheduler";

/// What `--help` says beside flags and examples.
const ABOUT: &str = "It checks requests, answers wamids and tells statuses by signed webhooks. Point workers at it \
    with WHATSAPP_API_URL. In the browser it shows a phone for each recipient, with the messages that arrived. \
    The last four digits of the recipient's number choose a fault; all other numbers behave well.\n\n\
    A phone answers: its page sends what is typed (STOP, BERHENTI, ARRÊT and START are understood) and the choice about \
    marketing messages to the receiver, signed as Meta does. Scripts do the same by POST /_simulator/inbound\n  \
    {\"from\": \"+62812…\", \"text\": \"STOP\", \"phone_number_id\": \"1001\"}\n\
    and POST /_simulator/preference\n  \
    {\"from\": \"+62812…\", \"value\": \"stop\", \"phone_number_id\": \"1001\"}     or \"resume\"\n\
    Without phone_number_id the sender that wrote last is meant.\n\n\
    Accounts begin with the templates of this version, approved. POST /_simulator/templates/state changes what became \
    of one, and /_simulator/templates/category what Meta bills it as, now or from a moment (in seconds) on; both tell \
    the receiver:\n  \
    {\"name\": \"prescription_ready\", \"language\": \"id\", \"state\": \"REJECTED\", \"reason\": \"PROMOTIONAL\"}\n  \
    {\"name\": \"prescription_ready\", \"language\": \"id\", \"category\": \"MARKETING\", \"from\": 1795000000}\n\
    A state is APPROVED, PENDING, REJECTED, PAUSED or DISABLED. A new template with `reject` in its name is rejected. \
    POST /_simulator/management {\"refuse\": 3} lets the next requests about templates meet the account's limit.\n\n\
    Point the scheduler at its mail server with SMTP_URL: what arrives is shown under /mail. \
    POST /_simulator/mail/faults lets it refuse; {} ends that:\n  \
    {\"refuse\": 421}   {\"reject\": {\"a@b.example\": 550}}   {\"drop_taken\": 1}   {\"answer_after_ms\": 5000}\n\n\
    Nothing is stored: a restart forgets everything.";

/// Flags of `simulator`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{ABOUT}\n\n{}\n{EXAMPLES}", fault_table()))]
pub struct Args {
    /// The TCP port; 0 takes a free one.
    #[arg(long, default_value_t = 8001)]
    port: u16,
    /// The TCP port of the mail server; 0 takes a free one.
    #[arg(long, default_value_t = 8025)]
    smtp_port: u16,
    /// The address to listen on; 0.0.0.0 for all.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    listen: IpAddr,
    /// Who is told of statuses.
    #[arg(long, default_value = "http://127.0.0.1:8000/webhooks/whatsapp", value_name = "URL")]
    webhook_url: Url,
    /// Messages a second of each sender, above which it is throttled (130429); 0 for no limit.
    #[arg(long, default_value_t = 80, value_name = "N")]
    mps: u32,
    /// Let a sender write to the same recipient more often than once in 6 s (131056).
    #[arg(long)]
    no_pair_limit: bool,
    /// Wait before each answer.
    #[arg(long, default_value = "0s", value_parser = duration)]
    latency: Duration,
    /// Wait before each status of a message.
    #[arg(long, default_value = "300ms", value_parser = duration)]
    status_delay: Duration,
    /// A token that is good; may be given several times. Without it, any token is.
    #[arg(long = "token", value_name = "TOKEN")]
    tokens: Vec<String>,
    /// How long the review of a created or edited template takes.
    #[arg(long, default_value = "2s", value_parser = duration)]
    review_delay: Duration,
    /// Let accounts begin without templates, as at Meta: `kmsnotif template push` creates them.
    #[arg(long)]
    no_templates: bool,
    /// A sender and the name patients see; others exist as well, under made-up names.
    #[arg(long = "sender", value_name = "PHONE_NUMBER_ID,WABA_ID,NUMBER,NAME")]
    senders: Vec<SenderArg>,
}

/// A sender as it is typed: four parts separated by commas, the last of which is the name.
#[derive(Debug, Clone)]
struct SenderArg(Sender);

impl FromStr for SenderArg {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(4, ',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
        let mut next = || parts.next().ok_or("write four parts, as in 1001,2001,+62215550101,RS Harapan");
        let (phone_number_id, waba_id, display_phone_number, verified_name) = (next()?, next()?, next()?, next()?);
        Ok(Self(Sender { phone_number_id, waba_id, display_phone_number, verified_name }))
    }
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("write a duration, as in 300ms or 2s")
}

/// Runs `simulator` until SIGTERM or SIGINT.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let app_secrets = app_secrets(&environment)?;
    let listener = listen(SocketAddr::new(args.listen, args.port)).await?;
    let mail_listener = listen(SocketAddr::new(args.listen, args.smtp_port)).await?;
    let webhook_url = args.webhook_url.clone();
    // The first secret signs, as at Meta; a receiver accepts each of them while they are rotated.
    let app_secret = app_secrets.first().context("WHATSAPP_APP_SECRET is empty")?.expose().to_owned();
    let simulator = Simulator::start(listener, options(args, app_secret)?).context("cannot start the simulator")?;
    let mail = simulator.listen_for_mail(mail_listener).context("cannot take mail")?;
    let (url, smtp_url) = (simulator.url(), mail.url());
    super::tell(&format!("simulator: listening on {url}, statuses go to {webhook_url}; takes mail on {smtp_url}"));
    terminated().await;
    mail.stop().await;
    simulator.stop().await;
    Ok(())
}

async fn listen(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn options(args: Args, app_secret: String) -> anyhow::Result<Options> {
    let tokens =
        if args.tokens.is_empty() { TokenCheck::Any } else { TokenCheck::Fixed(args.tokens.into_iter().collect()) };
    Ok(Options {
        app_secret,
        webhook_url: Some(args.webhook_url),
        tokens,
        templates: if args.no_templates { Vec::new() } else { Templates::load()?.iter().map(known).collect() },
        senders: args.senders.into_iter().map(|sender| sender.0).collect(),
        mps: args.mps,
        pair_limit: !args.no_pair_limit,
        latency: args.latency,
        status_delay: args.status_delay,
        review_delay: args.review_delay,
        ..Options::default()
    })
}

/// The template as Meta knows it; its text is the whole of what the phone shows.
fn known(template: &Template) -> KnownTemplate {
    let payload = creation_payload(template);
    let parts = [template.header.as_deref(), Some(template.text.as_str()), template.footer.as_deref()];
    KnownTemplate {
        components: payload["components"].as_array().cloned().unwrap_or_default(),
        ttl_s: payload["message_send_ttl_seconds"].as_i64(),
        name: template.name.clone(),
        language: template.language.as_str().to_owned(),
        category: template.category.as_str().to_owned(),
        parameters: template.parameters().map(str::to_owned).collect(),
        body: parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n"),
        state: TemplateState::Approved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_known_with_its_holes() {
        let templates = Templates::load().unwrap();
        let known: Vec<_> = templates.iter().map(known).collect();
        assert_eq!(known.len(), 12, "four kinds in three languages");
        for template in &known {
            let hole = |name: &String| template.body.contains(&format!("{{{{{name}}}}}"));
            assert!(!template.parameters.is_empty() && template.parameters.iter().all(hole), "{template:?}");
        }
    }

    #[test]
    fn a_sender_has_four_parts() {
        let sender = "1001,2001,+62215550101,RS Harapan, Jakarta".parse::<SenderArg>().unwrap().0;
        assert_eq!((sender.waba_id.as_str(), sender.verified_name.as_str()), ("2001", "RS Harapan, Jakarta"));
        assert!("1001,2001,,RS".parse::<SenderArg>().is_err());
    }
}
