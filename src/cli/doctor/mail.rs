//! Mail: the letters can be written, the server lets us in, and nothing is left lying.

use sqlx::PgPool;

use super::Finding;
use crate::config::{Lookup, MailConfig};
use crate::mail::store::Depth;
use crate::mail::{Composer, Letters, Relay, store};

/// A mail that waits longer than this says that nobody sends, or that the server is away.
const WAIT_WARN_S: f64 = 900.0;

/// Writes every letter once.
pub(super) fn letters() -> Finding {
    match Letters::load() {
        Ok(_) => Finding::ok("letters", "all can be written in every language"),
        Err(error) => Finding::fail("letters", error.to_string(), "correct templates/mail and build again"),
    }
}

/// Connects and logs in; nothing to say where no mail server is set, which was told already.
pub(super) async fn server(lookup: &Lookup<'_>) -> Option<Finding> {
    let config = MailConfig::from_env(lookup).ok()?;
    if let Err(error) = Composer::new(&config) {
        return Some(Finding::fail("mail server", error.to_string(), "correct MAIL_FROM"));
    }
    let place = format!("{}:{}", config.server.host, config.server.port);
    let checked = match Relay::new(config.server) {
        Ok(mut relay) => relay.check().await,
        Err(failure) => Err(failure),
    };
    Some(match checked {
        Ok(()) => Finding::ok("mail server", format!("{place} lets us in")),
        Err(failure) => Finding::fail(
            "mail server",
            failure.to_string(),
            "check SMTP_URL, its user and password, and the way to it",
        ),
    })
}

/// Judges what lies in the outbox.
pub(super) async fn outbox(pool: &PgPool) -> Result<Finding, sqlx::Error> {
    Ok(judge(store::get_depth(pool).await?))
}

pub(super) fn judge(depth: Depth) -> Finding {
    let detail = format!("{} waiting, {} failed", depth.waiting, depth.failed);
    if depth.oldest_wait_s > WAIT_WARN_S {
        let detail = format!("{detail}; the oldest waits since {} min", (depth.oldest_wait_s / 60.0).round());
        let remedy = "see why with `kmsnotif mail list --status waiting`, and that a scheduler runs";
        return Finding::warn("mails", detail, remedy);
    }
    if depth.failed > 0 {
        let remedy = "see why with `kmsnotif mail list --status failed`, then `kmsnotif mail retry`";
        return Finding::warn("mails", detail, remedy);
    }
    Finding::ok("mails", detail)
}
