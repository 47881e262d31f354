//! Templates at Meta: an account's list page by page, creating one, editing one.
//!
//! Nothing here reaches a patient. A question may be asked again; whoever creates or edits lists afterwards, so that
//! an answer nobody read does no harm.
//! Source: Meta, message templates of the Business Management API, v25.0.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use serde::Deserialize;
use serde_json::Value;

use super::client::request;
use super::exchange::{Failure, MANAGED_BYTES_MAX};
use super::{Class, Client, SendError};

/// Templates on one page: with their texts they stay well below what is read of an answer.
const PAGE: usize = 100;
/// What is asked of each template.
const FIELDS: &str = "id,name,language,status,category,correct_category,rejected_reason,parameter_format,\
                      quality_score,message_send_ttl_seconds,components";
/// Longest word of Meta's that is kept.
const WORD_MAX: usize = 64;

/// An account at Meta, and a token that may manage it.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// Meta's id of the WhatsApp business account.
    pub waba_id: &'a str,
    /// The access token; never shown.
    pub token: &'a str,
}

impl std::fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("waba_id", &self.waba_id).finish_non_exhaustive()
    }
}

/// A template as Meta lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTemplate {
    /// Meta's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its language code.
    pub language: String,
    /// APPROVED, PENDING, REJECTED, PAUSED, DISABLED ….
    pub status: String,
    /// What Meta bills it as, in capitals.
    pub category: Option<String>,
    /// What Meta will bill it as.
    pub correct_category: Option<String>,
    /// Why the review refused it; none where it did not.
    pub rejected_reason: Option<String>,
    /// GREEN, YELLOW, RED; none while unknown.
    pub quality: Option<String>,
    /// How long Meta tries to deliver; none where Meta names nothing.
    pub ttl_seconds: Option<i64>,
    /// Header, body, footer and buttons.
    pub components: Vec<Value>,
}

/// Some of an account's templates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplatePage {
    /// In Meta's order; what names neither itself nor its language is left out.
    pub templates: Vec<ListedTemplate>,
    /// What to ask with for the next page; none after the last.
    pub after: Option<String>,
}

/// A template that was created.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CreatedTemplate {
    /// Meta's id.
    pub id: String,
    /// PENDING mostly.
    #[serde(default)]
    pub status: Option<String>,
    /// What Meta takes it for.
    #[serde(default)]
    pub category: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Value>,
    #[serde(default)]
    paging: Value,
}

#[derive(Deserialize)]
struct Edited {
    #[serde(default)]
    success: bool,
}

impl Client {
    /// Lists an account's templates from a cursor on.
    pub async fn list_templates(&self, account: &Account<'_>, after: Option<&str>) -> Result<TemplatePage, SendError> {
        let mut url = self.url([account.waba_id, "message_templates"]);
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("fields", FIELDS).append_pair("limit", &PAGE.to_string());
            if let Some(after) = after {
                query.append_pair("after", after);
            }
        }
        let request = request(Method::GET, account.token, &url)?;
        let answer = self.exchange.run_within(request, None, MANAGED_BYTES_MAX).await.map_err(not_answered)?;
        let page: Page = answer.found()?;
        let cursor = page.paging["cursors"]["after"].as_str().filter(|_| page.paging["next"].is_string());
        // The address of the next page is not followed: the token goes to the configured host alone.
        Ok(TemplatePage {
            templates: page.data.iter().filter_map(listed).collect(),
            after: cursor.filter(|cursor| Some(*cursor) != after).map(str::to_owned),
        })
    }

    /// Creates a template; the review begins.
    pub async fn create_template(&self, account: &Account<'_>, payload: &Value) -> Result<CreatedTemplate, SendError> {
        let request = request(Method::POST, account.token, &self.url([account.waba_id, "message_templates"]))?;
        self.write(request, payload).await
    }

    /// Edits the template of this id; the review begins again.
    pub async fn edit_template(&self, token: &str, id: &str, payload: &Value) -> Result<(), SendError> {
        let request = request(Method::POST, token, &self.url([id]))?;
        let edited: Edited = self.write(request, payload).await?;
        if edited.success { Ok(()) } else { Err(SendError::new(Class::Unknown, "the answer says no success")) }
    }

    async fn write<T: serde::de::DeserializeOwned>(
        &self,
        mut request: Request<()>,
        payload: &Value,
    ) -> Result<T, SendError> {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Some(payload.to_string().into_bytes());
        self.exchange.run(request, body).await.map_err(not_answered)?.found()
    }
}

fn not_answered(failure: Failure) -> SendError {
    match failure {
        Failure::Unsent(reason) => SendError::new(Class::Unavailable, &reason),
        Failure::Unread(reason) => SendError::new(Class::Unknown, &reason),
    }
}

/// Reads one template; numbers may be strings.
fn listed(value: &Value) -> Option<ListedTemplate> {
    let word = |key: &str| {
        let text = value[key].as_str().map(|text| text.chars().take(WORD_MAX).collect::<String>());
        text.filter(|text| !text.is_empty())
    };
    let whole = |key: &str| value[key].as_str().map(str::to_owned);
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    Some(ListedTemplate {
        id: whole("id").or_else(|| value["id"].as_u64().map(|id| id.to_string()))?,
        name: whole("name")?,
        language: whole("language")?,
        status: word("status").unwrap_or_default(),
        category: word("category"),
        correct_category: word("correct_category"),
        rejected_reason: word("rejected_reason").filter(|reason| reason != "NONE"),
        quality: value["quality_score"]["score"].as_str().filter(|score| *score != "UNKNOWN").map(str::to_owned),
        ttl_seconds: number(&value["message_send_ttl_seconds"]),
        components: value["components"].as_array().cloned().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_read_as_meta_lists_it() {
        let value = json!({ "id": 594_425_479_261_596_u64, "name": "t", "language": "id", "status": "REJECTED",
            "category": "UTILITY", "rejected_reason": "INVALID_FORMAT", "quality_score": { "score": "UNKNOWN" },
            "message_send_ttl_seconds": "3600", "components": [{ "type": "BODY", "text": "Halo" }] });
        let read = listed(&value).unwrap();
        assert_eq!((read.id.as_str(), read.ttl_seconds), ("594425479261596", Some(3600)));
        assert_eq!(read.rejected_reason.as_deref(), Some("INVALID_FORMAT"));
        assert_eq!((read.quality, read.correct_category), (None, None));
        assert_eq!(listed(&json!({ "id": "1", "name": "t" })), None, "without a language it is none");
    }
}
