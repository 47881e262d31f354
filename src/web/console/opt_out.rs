//! Opt-outs: patients who want no messages, entered by themselves or by the staff.

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use serde::Serialize;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use crate::opt_out::{OptOut, PhoneHash, Scope, Wish, spellings, store};
use crate::tenant::phone::{self, E164};

/// Opt-outs of the page.
const ROWS: i64 = 100;

/// An opt-out as templates see it.
#[derive(Serialize)]
struct Row {
    /// Masked; none once no notification has the phone any more.
    to: Option<String>,
    scope: &'static str,
    since: DateTime<Utc>,
    source: String,
}

impl From<OptOut> for Row {
    fn from(opt_out: OptOut) -> Self {
        Self {
            to: opt_out.phone.map(|phone| phone.to_string()),
            scope: opt_out.scope.as_str(),
            since: opt_out.since,
            source: opt_out.source,
        }
    }
}

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    let (tenant, mut wrong) = (ask.tenant()?, Wrong::default());
    let phone = wrong.read_some(&ask.fields, "phone", ask.texts(), |text| {
        phone::parse(text, tenant.country).map_err(|_| ask.texts().get("wrong", "phone"))
    });
    let recipients = match phone {
        Some(phone) => hashes(&ask, &phone).await?,
        None => Vec::new(),
    };
    show(&ask, Some(&wrong).filter(|wrong| !wrong.is_empty()), &recipients).await
}

/// What the rows of a phone may be kept under.
async fn hashes(ask: &Ask, phone: &E164) -> Result<Vec<PhoneHash>, Failure> {
    let hasher = ask.state.console.phone_hasher(&ask.state.pool).await?;
    Ok(spellings(phone.as_str()).iter().map(|phone| hasher.hash(phone)).collect())
}

/// Shows those of some phones, or the newest.
async fn show(ask: &Ask, wrong: Option<&Wrong>, recipients: &[PhoneHash]) -> Answer {
    let tenant = ask.tenant()?;
    let mut tx = ask.read().await?;
    let mut rows: Vec<OptOut> = Vec::new();
    if recipients.is_empty() {
        rows = store::list(&mut *tx, tenant.id, None, Some(ROWS + 1)).try_collect().await?;
    }
    for recipient in recipients {
        rows.extend(store::list(&mut *tx, tenant.id, Some(*recipient), Some(ROWS)).try_collect::<Vec<_>>().await?);
    }
    tx.rollback().await?;
    let cut = rows.len() as i64 > ROWS;
    rows.truncate(ROWS as usize);
    let page = match wrong {
        Some(wrong) => ask.refused("opt_outs.html", wrong).await?,
        None => ask.page("opt_outs.html").await?,
    };
    let may =
        super::permission::find("POST", "/t/{tenant}/opt-outs").is_some_and(|rule| rule.who.includes(ask.user.role));
    page.with("rows", &rows.into_iter().map(Row::from).collect::<Vec<_>>())
        .with("may", &may)
        .with("cut", &cut)
        .with("most", &ROWS)
        .with("searched", &!recipients.is_empty())
        .show()
}

/// Enters what a patient told the staff.
pub(super) async fn enter(ask: Ask) -> Answer {
    let (fields, texts, tenant) = (&ask.fields, ask.texts(), ask.tenant()?);
    let mut wrong = Wrong::default();
    let phone = wrong
        .read(fields, "to", texts, |text| phone::parse(text, tenant.country).map_err(|_| texts.get("wrong", "phone")));
    let scope =
        wrong.read(fields, "scope", texts, |text| text.parse::<Scope>().map_err(|_| texts.get("wrong", "choice")));
    let wish = wrong.read(fields, "wish", texts, |text| match text {
        "stop" => Ok(Wish::Stop),
        "resume" => Ok(Wish::Resume),
        _ => Err(texts.get("wrong", "choice")),
    });
    let (Some(phone), Some(scope), Some(wish)) = (phone, scope, wish) else {
        return show(&ask, Some(&wrong), &[]).await;
    };
    let recipients = hashes(&ask, &phone).await?;
    let changed = store::enter(ask.access()?, tenant.id, &recipients, scope, wish, &ask.actor()).await?;
    let key = if changed { "entered" } else { "unchanged" };
    ask.done(&ask.url("/opt-outs")?, texts.get("opt_outs", key)).await
}
