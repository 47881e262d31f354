//! Management as the Graph API offers it: templates of an account (list, create, edit, delete), its senders, one object.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Sender;
use super::graph::GraphError;
use super::send::parse_version;
use super::state::State;
use super::submission::{Submission, check_submission, read};
use super::template::{INVALID, NOT_REJECTED, TEMPLATES_MAX, Template, TemplateState};

type Answer = Result<Json<Value>, GraphError>;
type Pairs = Query<HashMap<String, String>>;

/// Templates on one page unless `limit` says otherwise.
const PAGE: usize = 25;
/// `GET /{version}/{id}`: a template if there is one of this id, otherwise a sender.
pub async fn get_object(
    Shared(state): Shared<Arc<State>>,
    Path((version, id)): Path<(String, String)>,
    Query(query): Pairs,
    headers: HeaderMap,
) -> Answer {
    check(&state, &version, &headers)?;
    let template = id.parse().ok().and_then(|id| state.with_templates(|all| all.find_by_id(id).map(|found| found.1)));
    let object = match template {
        Some(template) => template.listing(),
        None => sender_object(&*state.find_sender(&id)?),
    };
    let fields =
        query.get("fields").map_or("verified_name,display_phone_number,quality_rating,id,name,status", String::as_str);
    Ok(Json(pick(&object, fields)))
}

/// `GET /{version}/{waba_id}/phone_numbers`: the senders that are known of an account.
pub async fn list_senders(
    Shared(state): Shared<Arc<State>>,
    Path((version, waba_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    check(&state, &version, &headers)?;
    let data: Vec<Value> = state.list_senders(&waba_id).iter().map(|sender| sender_object(sender)).collect();
    Ok(Json(json!({ "data": data })))
}

/// `GET /{version}/{waba_id}/message_templates`: one page of an account's templates.
pub async fn list(
    Shared(state): Shared<Arc<State>>,
    Path((version, waba_id)): Path<(String, String)>,
    Query(query): Pairs,
    headers: HeaderMap,
) -> Answer {
    check(&state, &version, &headers)?;
    let wanted = |key: &str, value: &str| query.get(key).is_none_or(|wanted| wanted.eq_ignore_ascii_case(value));
    let listings: Vec<(u64, Value)> = state.with_templates(|all| {
        let templates = all.account(&waba_id).iter();
        let known = templates.filter(|template| {
            let known = &template.known;
            wanted("name", &known.name) && wanted("language", &known.language) && wanted("status", known.state.as_str())
        });
        known.map(|template| (template.id, template.listing())).collect()
    });
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(PAGE).clamp(1, TEMPLATES_MAX);
    let after = match query.get("after") {
        Some(cursor) => cursor_id(cursor).ok_or_else(|| GraphError::with_details(100, "Invalid cursors values"))?,
        None => 0,
    };
    let rest: Vec<&(u64, Value)> = listings.iter().filter(|(id, _)| *id > after).collect();
    let fields =
        query.get("fields").map_or("name,parameter_format,components,language,status,category,id", String::as_str);
    let data: Vec<Value> = rest.iter().take(limit).map(|(_, listing)| pick(listing, fields)).collect();
    let mut answer = json!({ "data": data });
    if let (Some(first), Some(last)) = (rest.first(), rest.get(data.len().wrapping_sub(1))) {
        answer["paging"] = json!({ "cursors": { "before": cursor(first.0), "after": cursor(last.0) } });
        if rest.len() > data.len() {
            let mut next = state.url.clone();
            next.set_path(&format!("/{version}/{waba_id}/message_templates"));
            next.query_pairs_mut()
                .extend_pairs(query.iter().filter(|(key, _)| *key != "after"))
                .append_pair("after", &cursor(last.0));
            answer["paging"]["next"] = json!(next.as_str());
        }
    }
    Ok(Json(answer))
}

/// `POST /{version}/{waba_id}/message_templates`: creates a template, which the review then decides on.
pub async fn create(
    Shared(state): Shared<Arc<State>>,
    Path((version, waba_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    check(&state, &version, &headers)?;
    let submission = read(&body)?;
    let template = check_submission(&submission)?;
    let created = state.with_templates(|all| {
        let known = all.account(&waba_id);
        if known.len() >= TEMPLATES_MAX {
            return Err(
                GraphError::with_details(100, "The account has reached its limit of templates.").subcode(2_388_019)
            );
        }
        let same = |other: &Arc<Template>| {
            other.known.name == template.known.name && other.known.language == template.known.language
        };
        if known.iter().any(same) {
            return Err(GraphError::with_details(100, "There is already content in this language for this template.")
                .subcode(2_388_024));
        }
        Ok(all.insert(&waba_id, template))
    })?;
    let state_now = start_review(&state, created.id);
    Ok(Json(json!({
        "id": created.id.to_string(),
        "status": state_now.as_str(),
        "category": created.known.category,
    })))
}

/// `POST /{version}/{template_id}`: edits a template, which is then reviewed again.
pub async fn edit(
    Shared(state): Shared<Arc<State>>,
    Path((version, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    check(&state, &version, &headers)?;
    let missing = || GraphError::with_details(100, format!("Object with ID '{id}' does not exist.")).subcode(33);
    let number: u64 = id.parse().map_err(|_| missing())?;
    let old = state.with_templates(|all| all.find_by_id(number).map(|found| found.1)).ok_or_else(missing)?;
    if matches!(old.known.state, TemplateState::Pending | TemplateState::Disabled) {
        return Err(GraphError::with_details(100, "Only approved, rejected or paused templates can be edited."));
    }
    let given = read(&body)?;
    let moves = given.category.as_ref().is_some_and(|category| !category.eq_ignore_ascii_case(&old.known.category));
    if moves && old.known.state == TemplateState::Approved {
        return Err(GraphError::with_details(100, "The category of an approved template cannot be edited."));
    }
    let components = given.components.or_else(|| old.components.as_array().cloned());
    let merged = Submission {
        name: Some(old.known.name.clone()),
        language: Some(old.known.language.clone()),
        category: given.category.or_else(|| Some(old.known.category.to_uppercase())),
        parameter_format: Some(if old.is_positional() { "POSITIONAL" } else { "NAMED" }.to_owned()),
        message_send_ttl_seconds: given.message_send_ttl_seconds.or(old.ttl_s),
        components,
    };
    let fresh = check_submission(&merged)?;
    state
        .with_templates(|all| all.update(number, |template| *template = Template { id: number, ..fresh }))
        .ok_or_else(missing)?;
    start_review(&state, number);
    Ok(Json(json!({ "success": true })))
}

/// `DELETE /{version}/{waba_id}/message_templates?name=…`: removes a name in every language, or one by `hsm_id`.
pub async fn remove(
    Shared(state): Shared<Arc<State>>,
    Path((version, waba_id)): Path<(String, String)>,
    Query(query): Pairs,
    headers: HeaderMap,
) -> Answer {
    check(&state, &version, &headers)?;
    let name = query.get("name").ok_or_else(|| GraphError::with_details(100, "The parameter name is required."))?;
    let id = query.get("hsm_id").and_then(|id| id.parse().ok());
    let removed = state.with_templates(|all| all.remove(&waba_id, name, id));
    if removed.is_empty() {
        return Err(
            GraphError::with_details(100, format!("Message template \"{name}\" was not found.")).subcode(2_593_002)
        );
    }
    for template in removed {
        state.tell_template_status(&waba_id, &template, "DELETED");
    }
    Ok(Json(json!({ "success": true })))
}

fn check(state: &State, version: &str, headers: &HeaderMap) -> Result<(), GraphError> {
    parse_version(version)?;
    state.check_token(headers)?;
    state.managed.fetch_add(1, Ordering::Relaxed);
    if state.refuses_management() {
        return Err(GraphError { retry_after_s: Some(1), ..GraphError::new(80_008) });
    }
    Ok(())
}

/// Decides now or later; a name with `reject` in it is refused. Returns the state that is answered.
fn start_review(state: &Arc<State>, id: u64) -> TemplateState {
    if state.options.review_delay.is_zero() {
        return review(state, id).unwrap_or_default();
    }
    let state = state.clone();
    tokio::spawn(async move {
        tokio::time::sleep(state.options.review_delay).await;
        review(&state, id);
    });
    TemplateState::Pending
}

/// Ends the review of a template unless it is gone or was decided otherwise; tells the receiver.
fn review(state: &State, id: u64) -> Option<TemplateState> {
    let (waba_id, template) = state.with_templates(|all| {
        let pending = all.find_by_id(id).is_some_and(|found| found.1.known.state == TemplateState::Pending);
        if !pending {
            return None;
        }
        all.update(id, |template| {
            let rejected = template.known.name.contains("reject");
            template.known.state = if rejected { TemplateState::Rejected } else { TemplateState::Approved };
            (if rejected { INVALID } else { NOT_REJECTED }).clone_into(&mut template.rejected_reason);
        })
    })?;
    state.tell_template_status(&waba_id, &template, template.known.state.as_str());
    Some(template.known.state)
}

fn sender_object(sender: &Sender) -> Value {
    json!({
        "id": sender.phone_number_id,
        "display_phone_number": sender.display_phone_number,
        "verified_name": sender.verified_name,
        "quality_rating": "GREEN",
        "platform_type": "CLOUD_API",
        "throughput": { "level": "STANDARD" },
        "code_verification_status": "VERIFIED",
        "name_status": "APPROVED",
        "status": "CONNECTED",
        "whatsapp_business_manager_messaging_limit": "TIER_100K",
    })
}

/// The fields asked for, and always the id; a field's own selection in braces or parentheses is not looked at.
fn pick(object: &Value, fields: &str) -> Value {
    let wanted = |key: &str| key == "id" || fields.split(',').any(|field| field.trim() == key);
    let pairs = object.as_object().into_iter().flatten().filter(|(key, _)| wanted(key));
    Value::Object(pairs.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn cursor(id: u64) -> String {
    URL_SAFE_NO_PAD.encode(id.to_string())
}

fn cursor_id(cursor: &str) -> Option<u64> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back() {
        assert_eq!(cursor_id(&cursor(42)), Some(42));
        assert_eq!(cursor_id("…"), None);
    }
}
