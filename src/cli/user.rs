//! `kmsnotif user …`: who logs in to the console.

use std::io::{IsTerminal as _, Read as _};
use std::pin::pin;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use kmsnotif_jobs::Language;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::output::{Column, Show, moment, text};
use super::{Global, Output, actor, confirm, value};
use crate::people::{Hasher, NewUser, PeopleError, Role, User, check_password, read_email, store};
use crate::secret::Secret;
use crate::tenant::email::InvalidEmail;
use crate::tenant::store as tenant_store;

/// Subcommands of `user`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a user; the password comes on standard input, unless the provider alone lets them in.
    Add(Add),
    /// List users by their addresses.
    List(List),
    /// Let a user log in no more, and end every session at once.
    Disable(Disable),
    /// Set a new password, which comes on standard input, and end every session; a disabled user may log in again.
    Passwd(Passwd),
    /// Forget whom a user is at the OpenID Connect provider; the next log-in by it goes by the e-mail address again.
    Unlink(Unlink),
}

/// Flags of `user add`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kmsnotif user add --email admin@ksatria.example --role administrator < password.txt\n  \
    kmsnotif user add --email keuangan@rs-harapan.example --role finance --tenant rs-harapan \\\n      \
    --language id < password.txt\n  \
    kmsnotif user add --email andi@ksatria.example --role support --no-password\n\n\
    administrator: everything, prices included. tenant_admin: one tenant's configuration, users, logs, credit.\n\
    finance: one tenant's pages of credit. support: reads the logs of all tenants."
)]
pub struct Add {
    /// What the user logs in with.
    #[arg(long, value_parser = address)]
    email: String,
    /// administrator, tenant_admin, finance or support.
    #[arg(long)]
    role: Role,
    /// The code of the tenant whose user it is, for tenant_admin and finance.
    #[arg(long)]
    tenant: Option<String>,
    /// The language of the console: id, en or fr.
    #[arg(long, default_value = "id")]
    language: Language,
    /// No password: the user logs in by the OpenID Connect provider alone.
    #[arg(long)]
    no_password: bool,
}

/// Flags of `user list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif user list --tenant rs-harapan")]
pub struct List {
    /// Of this tenant only: its code.
    #[arg(long)]
    tenant: Option<String>,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

/// Flags of `user disable`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif user disable --email keuangan@rs-harapan.example --yes")]
pub struct Disable {
    /// The user's address.
    #[arg(long, value_parser = address)]
    email: String,
}

/// Flags of `user passwd`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif user passwd --email keuangan@rs-harapan.example < password.txt")]
pub struct Passwd {
    /// The user's address.
    #[arg(long, value_parser = address)]
    email: String,
}

/// Flags of `user unlink`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif user unlink --email keuangan@rs-harapan.example --yes")]
pub struct Unlink {
    /// The user's address.
    #[arg(long, value_parser = address)]
    email: String,
}

fn address(text: &str) -> Result<String, InvalidEmail> {
    read_email(text)
}

#[derive(Debug, Serialize)]
struct UserAnswer {
    user: Uuid,
    email: String,
    role: &'static str,
    tenant: Option<String>,
    language: &'static str,
    disabled_at: Option<DateTime<Utc>>,
    last_login_at: Option<DateTime<Utc>>,
    password_changed_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    created_by: String,
}

impl From<User> for UserAnswer {
    fn from(user: User) -> Self {
        Self {
            user: user.id,
            email: user.email,
            role: user.role.as_str(),
            tenant: user.tenant,
            language: user.language.as_str(),
            disabled_at: user.disabled_at,
            last_login_at: user.last_login_at,
            password_changed_at: user.password_changed_at,
            created_at: user.created_at,
            created_by: user.created_by,
        }
    }
}

impl Show for UserAnswer {
    const COLUMNS: &'static [Column] = &[
        text("e-mail", 32),
        text("role", 13),
        text("tenant", 20),
        text("language", 8),
        text("last log-in", 20),
        text("disabled", 20),
        text("user", 36),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            self.email.clone(),
            self.role.to_owned(),
            self.tenant.clone().unwrap_or_default(),
            self.language.to_owned(),
            self.last_login_at.map(moment).unwrap_or_default(),
            self.disabled_at.map(moment).unwrap_or_default(),
            self.user.to_string(),
        ]
    }
}

/// Runs a subcommand of `user`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::Add(args) => {
            let tenant_id = value::tenant_id(args.tenant.as_deref(), pool).await?;
            let password_hash =
                if args.no_password { None } else { Some(Hasher::default().hash(read_password(&args.email)?).await?) };
            let Add { email, role, language, .. } = args;
            let new = NewUser { email, role, tenant_id, language, password_hash };
            output.one(&UserAnswer::from(store::insert(pool, &new, &actor()).await?))?;
        }
        Command::List(args) => {
            let tenant = match &args.tenant {
                Some(code) => Some(tenant_store::get(pool, code).await?.id),
                None => None,
            };
            let mut users = pin!(store::list(pool, tenant, args.limit));
            while let Some(user) = users.next().await {
                output.row(&UserAnswer::from(user?))?;
            }
        }
        Command::Disable(args) => {
            let user = get(pool, &args.email).await?;
            if user.disabled_at.is_none() {
                confirm(global, &format!("Disable {} and end every session?", user.email))?;
            }
            store::disable(pool, &user, &actor()).await?;
            output.one(&UserAnswer::from(get(pool, &args.email).await?))?;
        }
        Command::Passwd(args) => {
            let user = get(pool, &args.email).await?;
            let hash = Hasher::default().hash(read_password(&args.email)?).await?;
            store::set_password(pool, &user, &hash, &actor()).await?;
            output.one(&UserAnswer::from(get(pool, &args.email).await?))?;
        }
        Command::Unlink(args) => {
            let user = get(pool, &args.email).await?;
            confirm(global, &format!("Forget whom {} is at the provider and end every session?", user.email))?;
            if !store::identity::unlink(pool, &user, &actor()).await? {
                bail!("{} has never logged in by the provider: there is nothing to forget", user.email);
            }
            output.one(&UserAnswer::from(get(pool, &args.email).await?))?;
        }
    }
    Ok(output.finish()?)
}

async fn get(pool: &PgPool, email: &str) -> Result<User, PeopleError> {
    store::find_by_email(pool, email).await?.ok_or_else(|| PeopleError::NotFound(email.to_owned()))
}

/// Reads the password from standard input: one line, whose end does not belong to it.
fn read_password(email: &str) -> anyhow::Result<Secret> {
    const BYTES_MAX: u64 = 4 * 1024;
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        // Typed here it would stand on the screen and in the terminal's memory.
        bail!("the password comes on standard input: add `< password.txt`, or pipe it from a password manager");
    }
    let mut text = String::new();
    stdin.take(BYTES_MAX).read_to_string(&mut text).context("cannot read the password from standard input")?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.contains('\n') {
        bail!("standard input has more than one line: give the password alone");
    }
    check_password(password, email)?;
    Ok(Secret::new(password))
}
