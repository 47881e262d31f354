//! Templates as tenants have them, and as Meta has them: where `render`, `sender` and `whatsapp` meet for management.
//!
//! 1. [`Overrides`]: a tenant's own texts, entered by people ([`enter`]), worked out by whoever sends.
//! 2. [`list`]: Meta's list of an account, page by page; [`refresh`] learns it, as `sender` keeps it, for every tenant
//!    of the account.
//! 3. [`push`]: what is missing at Meta is created, what differs is edited; running it again does nothing more.
//! 4. `refresh`: the scheduler asks for each account's list now and then, each scheduler for other accounts.
//!
//! Nothing here sends a message, and no transaction is open while Meta is asked.

mod difference;
pub mod enter;
mod overriding;
pub mod push;
pub mod refresh;
pub mod store;
#[cfg(test)]
mod tests;

pub use overriding::{Override, Overrides};
pub use push::{Action, Pushed};

use chrono::{DateTime, Utc};

use crate::config::WhatsAppConfig;
use crate::whatsapp::{Account, Client, ClientError, ListedTemplate, Options, SendError};

/// Pages of an account that are read: more than Meta's limit of templates has.
const PAGES_MAX: usize = 100;

/// An account's templates at Meta, all of them, and when they were asked for.
#[derive(Debug, Clone)]
pub struct Listing {
    /// In Meta's order.
    pub templates: Vec<ListedTemplate>,
    /// Before the first page was asked for.
    pub at: DateTime<Utc>,
    /// Whether the last page was read.
    pub complete: bool,
}

impl Listing {
    /// The template of this name and language.
    pub fn find(&self, name: &str, language: &str) -> Option<&ListedTemplate> {
        self.templates.iter().find(|template| template.name == name && template.language == language)
    }
}

/// A client that manages templates: few requests, one connection.
pub fn client(config: &WhatsAppConfig) -> Result<Client, ClientError> {
    let mut options = Options::new(config.api_url.clone(), config.api_version.clone());
    (options.read_timeout, options.lines) = (config.read_timeout, 1);
    Client::new(options)
}

/// Lists an account's templates, page by page.
pub async fn list(client: &Client, account: &Account<'_>) -> Result<Listing, SendError> {
    let at = Utc::now();
    let mut templates = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = client.list_templates(account, after.as_deref()).await?;
        templates.extend(page.templates);
        after = page.after;
        if after.is_none() {
            return Ok(Listing { templates, at, complete: true });
        }
    }
    Ok(Listing { templates, at, complete: false })
}
