//! The API's document (OpenAPI 3.1), and the page that people read of it, made once at the start.
//!
//! Operations document what is theirs; what every operation can answer is added here, in one place, so that no
//! operation forgets it. The page is plain HTML made from the document: no script, nothing from elsewhere.

use axum::extract::State as Shared;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use kmsnotif_jobs::{Kind, schema};
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use super::super::State;
use super::page;

const OPENAPI: &str = "application/vnd.oai.openapi+json;version=3.1";
const STYLE: &str = include_str!("../../../templates/api/docs.css");
/// Styles of ours and nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "KMSNotif",
        description = "WhatsApp notifications of Ksatria eHospital: submit them, read what became of them, and the \
            credit that pays for them.\n\nEvery request has a key of the tenant: `Authorization: Bearer <key>`, made \
            by `kmsnotif key add`. A revoked key is refused within five seconds.\n\nErrors are \
            application/problem+json (RFC 9457); `reason` says why in one word, `detail` says what to do. \
            `RateLimit` says how many more requests a key has this second; on 429 wait for `Retry-After`. Lists are \
            read page by page: give `next` as `cursor`. A body has at most 64 KiB.",
        version = "1",
        license(name = "Proprietary")
    ),
    servers((url = "/", description = "This server")),
    tags((name = "notifications"), (name = "credit")),
    security(("key" = []))
)]
struct Frame;

/// What the operations are put into.
pub(super) fn frame() -> OpenApi {
    Frame::openapi()
}

/// The document as it is answered.
#[derive(Debug)]
pub(super) struct Document {
    json: String,
    html: String,
}

impl Document {
    pub(super) fn of(openapi: OpenApi) -> Self {
        let mut document = serde_json::to_value(openapi).expect("a document holds only what JSON has");
        complete(&mut document);
        Self { json: document.to_string(), html: page::render(&document) }
    }
}

/// Adds the security scheme, the schemas that are not ours to derive, and what every operation can answer.
fn complete(document: &mut Value) {
    let components = &mut document["components"];
    components["securitySchemes"] = json!({ "key": {
        "type": "http", "scheme": "bearer", "description": "A key of the tenant, as `kmsnotif key add` shows it once."
    } });
    components["schemas"]["Problem"] = problem();
    components["schemas"]["Job"] = json!({
        "description": "The envelope of producers; its kind says what data it has.",
        "oneOf": Kind::ALL.iter().map(|kind| json!({ "$ref": format!("#/components/schemas/{}", name(*kind)) })).collect::<Vec<_>>(),
    });
    for kind in Kind::ALL {
        let mut schema = schema(kind);
        let fields = schema.as_object_mut().into_iter();
        fields.for_each(|fields| fields.retain(|name, _| name != "$schema" && name != "$id"));
        // What is malformed is ignored, since tracing must not stop a message.
        schema["properties"]["traceparent"] = json!({ "description": "The producer's trace (W3C traceparent)." });
        if kind == Kind::CreditPurchaseStatus {
            schema["properties"]["data"]["properties"]["amount"] = amount();
        }
        components["schemas"][name(kind)] = schema;
    }
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (_, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            complete_operation(operation, method == "post");
        }
    }
}

/// `registration_confirmed` is the schema `RegistrationConfirmed`.
fn name(kind: Kind) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    kind.as_str().split('_').map(capital).collect()
}

/// The contract takes numbers too, within what no schema can say; a text says exactly what is meant.
fn amount() -> Value {
    json!({
        "type": ["string", "integer"], "pattern": "^[1-9][0-9]{0,17}(\\.[0-9]{1,6})?$", "minimum": 1,
        "maximum": 1_000_000_000_000_u64, "description": "How much: a decimal above zero, as a text.", "example": "1000000"
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "An error (RFC 9457).",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string", "const": "about:blank" },
            "title": { "type": "string", "example": "Conflict" },
            "status": { "type": "integer", "example": 409 },
            "detail": { "type": "string", "description": "What is wrong, and what to do.",
                "example": "another job with this id has other content: give each notification an id of its own" },
            "reason": { "type": "string", "description": "Why in one word, for programs.", "example": "id_used" },
        }
    })
}

fn complete_operation(operation: &mut Value, is_post: bool) {
    let has_body = operation.get("requestBody").is_some();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let mut add = |status: &str, description: &str| {
        let answer = responses.entry(status).or_insert_with(|| json!({ "description": description }));
        answer["content"] =
            json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    };
    for (status, description) in [
        ("400", "The request is not what HTTP, UTF-8 or JSON allow."),
        ("401", "There is no key, or no such key."),
        ("403", "The key has not the scope (`missing_scope`), or is another tenant's (`other_tenant`)."),
        ("406", "Something else than application/json is accepted."),
        ("422", "A value does not fit (`invalid`); `detail` names it."),
        ("429", "The key asked too often (`rate_limited`)."),
        ("500", "An error of ours; it was logged."),
        ("503", "Postgres or Redis does not answer, or too much is asked at once: try again."),
    ] {
        add(status, description);
    }
    if has_body {
        add("408", "The body did not arrive within 10 s.");
        add("413", "The body has more than 64 KiB.");
        add("415", "The body is not application/json.");
    }
    if is_post {
        // What an operation says itself is a problem as well.
        for status in ["404", "409"] {
            own(responses, status);
        }
    } else {
        own(responses, "404");
    }
    tell_headers(responses);
}

/// A refusal that an operation documents itself.
fn own(responses: &mut Map<String, Value>, status: &str) {
    if let Some(answer) = responses.get_mut(status) {
        answer["content"] =
            json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    }
}

fn tell_headers(responses: &mut Map<String, Value>) {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    for (status, answer) in responses.iter_mut() {
        if status == "401" {
            answer["headers"]["WWW-Authenticate"] = text("`Bearer`");
            continue;
        }
        if matches!(status.as_str(), "400" | "406" | "500" | "503") {
            continue;
        }
        answer["headers"]["RateLimit"] = text("Requests left this second, as in `\"submit\";r=4999;t=1`.");
        answer["headers"]["RateLimit-Policy"] = text("The quota, as in `\"submit\";q=5000;w=1`.");
        if status == "429" {
            answer["headers"]["Retry-After"] =
                json!({ "description": "Seconds to wait.", "schema": { "type": "integer" } });
        }
    }
}

/// `/api/openapi.json`.
pub(super) async fn openapi(Shared(state): Shared<State>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPENAPI)], state.api.document.json.clone())
}

/// `/api/docs`.
pub(super) async fn docs(Shared(state): Shared<State>) -> Response {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(state.api.document.html.clone())).into_response()
}

/// `/api/docs.css`.
pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "public, max-age=3600")], STYLE)
}
