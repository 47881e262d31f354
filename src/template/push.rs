//! Pushing: what a tenant sends becomes what its account has at Meta.
//!
//! 1. The account's list is read.
//! 2. What is missing is created, what differs is edited, the rest is left alone; each is recorded in the audit.
//! 3. The list is read again, if anything was written, and learned.
//!
//! Running it again does nothing more: an answer that was lost shows in the list, and two at once meet Meta's refusal
//! to create the same name and language twice.

use std::time::Duration;

use kmsnotif_jobs::{Kind, Language};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::sleep;

use super::difference::Difference;
use super::{Listing, list, refresh};
use crate::audit::{self, Act};
use crate::config::WhatsAppConfig;
use crate::render::{Template, Templates, creation_payload};
use crate::tenant::Tenant;
use crate::whatsapp::{Account, Class, Client, ClientError, ListedTemplate, SendError};

/// Tries of one request that Meta throttles or does not take.
const TRIES_MAX: u32 = 5;
/// The longest of the waits between them.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Between two templates that are written: Meta counts an account's requests.
const GAP: Duration = Duration::from_millis(200);
/// Meta's refusal of a name and language that the account has.
const EXISTS: i64 = 2_388_024;

/// What is done about one template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing: it is at Meta as it is here.
    None,
    /// It was missing.
    Create,
    /// Its text, or how long Meta tries to deliver, differed.
    Edit,
    /// It differs, and Meta takes no change while it is in this state.
    Wait,
    /// Meta refused it.
    Refused,
}

impl Action {
    /// The spelling in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::None => "none",
            Action::Create => "create",
            Action::Edit => "edit",
            Action::Wait => "wait",
            Action::Refused => "refused",
        }
    }
}

/// What a template of a tenant is at Meta, and what was done about it.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The kind.
    pub kind: Kind,
    /// The language.
    pub language: Language,
    /// Its name at Meta.
    pub name: String,
    /// What was done, or is to be done.
    pub action: Action,
    /// Meta's entry; none where there is none.
    pub listed: Option<ListedTemplate>,
    /// What of it is not as it is here.
    pub difference: Difference,
    /// Why it was refused.
    pub error: Option<String>,
}

/// Pushing failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Meta refused, throttled, or did not answer.
    #[error("Meta's API: {0}")]
    Meta(#[from] SendError),
    /// The database.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// Pushes templates of one tenant.
#[derive(Debug)]
pub struct Pusher<'a> {
    /// The database.
    pub pool: &'a PgPool,
    /// Meta.
    pub whatsapp: &'a Client,
    /// Ours, for what is learned.
    pub templates: &'a Templates,
    /// Who pushes.
    pub actor: &'a str,
}

/// Pushes templates and can do nothing else with Meta: the web has no client that could send.
#[derive(Debug)]
pub struct Clerk(Client);

impl Clerk {
    /// Connects to nothing yet.
    pub fn new(config: &WhatsAppConfig) -> Result<Self, ClientError> {
        super::client(config).map(Self)
    }

    /// As [`Pusher::push`], for all that a tenant has.
    pub async fn push(
        &self,
        (pool, templates, actor): (&PgPool, &Templates, &str),
        tenant: &Tenant,
        account: &Account<'_>,
    ) -> Result<Vec<Pushed>, PushError> {
        let overrides = refresh::overrides_of(pool, tenant).await?;
        let wanted: Vec<&Template> = overrides.all(templates).collect();
        Pusher { pool, whatsapp: &self.0, templates, actor }.push(tenant, account, &wanted).await
    }
}

impl Pusher<'_> {
    /// What each of these templates is at Meta, which is learned as well.
    pub async fn look(&self, account: &Account<'_>, wanted: &[&Template]) -> Result<Vec<Pushed>, PushError> {
        let listing = again(async || list(self.whatsapp, account).await).await?;
        self.learn(account, &listing).await?;
        Ok(wanted.iter().map(|ours| plan(ours, listing.find(&ours.name, ours.language.as_str()))).collect())
    }

    /// Creates what is missing and edits what differs.
    pub async fn push(
        &self,
        tenant: &Tenant,
        account: &Account<'_>,
        wanted: &[&Template],
    ) -> Result<Vec<Pushed>, PushError> {
        let mut pushed = self.look(account, wanted).await?;
        let mut written = false;
        for (ours, pushed) in wanted.iter().zip(&mut pushed) {
            if !matches!(pushed.action, Action::Create | Action::Edit) {
                continue;
            }
            if written {
                sleep(GAP).await;
            }
            written = true;
            match self.write(tenant, account, ours, pushed).await {
                Ok(()) => {}
                // This template's own fault, or nobody knows: the others go on, and the list tells.
                Err(PushError::Meta(error))
                    if matches!(error.class(), Class::Rejected | Class::Template | Class::Unknown) =>
                {
                    pushed.error = Some(error.message().to_owned());
                    pushed.action = Action::Refused;
                }
                Err(error) => return Err(error),
            }
        }
        if written {
            let listing = again(async || list(self.whatsapp, account).await).await?;
            self.learn(account, &listing).await?;
            for (ours, pushed) in wanted.iter().zip(&mut pushed) {
                pushed.listed = listing.find(&ours.name, ours.language.as_str()).cloned();
                pushed.difference =
                    pushed.listed.as_ref().map(|listed| Difference::of(ours, listed)).unwrap_or_default();
            }
        }
        Ok(pushed)
    }

    async fn write(
        &self,
        tenant: &Tenant,
        account: &Account<'_>,
        ours: &Template,
        pushed: &Pushed,
    ) -> Result<(), PushError> {
        let payload = creation_payload(ours);
        let before = pushed.listed.as_ref().map(|listed| json!({ "id": listed.id, "status": listed.status }));
        let id = if let Some(listed) = &pushed.listed {
            let edit = edit_payload(&payload);
            again(async || self.whatsapp.edit_template(account.token, &listed.id, &edit).await).await?;
            listed.id.clone()
        } else {
            match again(async || self.whatsapp.create_template(account, &payload).await).await {
                Ok(created) => created.id,
                // Somebody was faster, or an earlier answer was lost: the list that follows says what is there.
                Err(error) if error.subcode() == Some(EXISTS) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        };
        let after = json!({ "id": id, "action": pushed.action.as_str() });
        let act = Act {
            tenant_id: Some(tenant.id),
            actor: self.actor,
            action: audit::Action::TemplatePush,
            subject: subject(&ours.name, ours.language),
            before,
            after: Some(after),
        };
        let mut connection = self.pool.acquire().await?;
        Ok(audit::record(&mut connection, &act).await?)
    }

    async fn learn(&self, account: &Account<'_>, listing: &Listing) -> Result<(), sqlx::Error> {
        for _ in 0..TRIES_MAX {
            if refresh::learn(self.pool, self.templates, account.waba_id, listing).await? {
                return Ok(());
            }
            // A webhook is being applied, which takes moments; what stays unlearned the scheduler's list says.
            sleep(GAP).await;
        }
        Ok(())
    }
}

/// A template as the audit names it: a name may be longer than a subject.
pub(super) fn subject(name: &str, language: Language) -> String {
    format!("{}/{language}", name.chars().take(400).collect::<String>())
}

/// What is to be done about a template.
fn plan(ours: &Template, listed: Option<&ListedTemplate>) -> Pushed {
    let difference = listed.map(|listed| Difference::of(ours, listed)).unwrap_or_default();
    let action = match listed {
        None => Action::Create,
        Some(_) if !difference.is_editable() => Action::None,
        // Meta edits what was decided about, and nothing that is under review, disabled or on its way out.
        Some(listed) if matches!(listed.status.as_str(), "APPROVED" | "REJECTED" | "PAUSED") => Action::Edit,
        Some(_) => Action::Wait,
    };
    let (kind, language, name) = (ours.kind, ours.language, ours.name.clone());
    Pushed { kind, language, name, action, listed: listed.cloned(), difference, error: None }
}

/// What an edit says: neither name, language nor format may change, and an approved one's category is Meta's.
fn edit_payload(payload: &Value) -> Value {
    let ttl = payload.get("message_send_ttl_seconds").cloned().unwrap_or(json!(-1));
    json!({ "components": payload["components"], "message_send_ttl_seconds": ttl })
}

/// Asks again while Meta throttles or took nothing; whatever else it says is the answer.
async fn again<T>(ask: impl AsyncFn() -> Result<T, SendError>) -> Result<T, SendError> {
    let mut tries = 0;
    loop {
        let error = match ask().await {
            Err(error) if matches!(error.class(), Class::Throttled(_) | Class::Unavailable) => error,
            answer => return answer,
        };
        tries += 1;
        if tries >= TRIES_MAX {
            return Err(error);
        }
        let wait = error.retry_after().unwrap_or(Duration::from_secs(1 << tries)).min(WAIT_MAX);
        tracing::info!(?wait, %error, "Meta's API is asked again");
        sleep(wait).await;
    }
}
