//! Pages: the templates, what every one of them is given, and the headers that go with them.

use std::collections::HashMap;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use kmsnotif_jobs::Language;
use serde::Serialize;
use tera::{Context, Kwargs, State as TeraState, Tera, Value};

use super::asset;
use super::failure::Failure;
use super::text::Texts;
use crate::render::{Amounts, Moments};

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../templates/console/", $name)))),*]
    };
}

/// Every template, under the name by which others extend and include it.
pub(super) const TEMPLATES: &[(&str, &str)] = templates![
    "layout.html",
    "part.html",
    "log_in.html",
    "account.html",
    "failure.html",
    "nothing.html",
    "log.html",
    "notification.html",
    "resend.html",
    "credits.html",
    "purchase.html",
    "ledger.html",
    "statement.html",
    "whatsapp.html",
    "dashboard.html",
    "figures.html",
    "tenants.html",
    "prices.html",
    "audit.html",
    "verify.html",
    "templates.html",
    "queue.html",
    "reminders.html",
    "opt_outs.html",
    "users.html",
    "keys.html",
    "health.html",
];

/// Nothing from elsewhere, no script or style within a page, nobody's frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The headers of every page, instead of those that a machine gets.
const HEADERS: [(HeaderName, &str); 2] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    // Not `no-referrer`: with it browsers send forms without their origin.
    (header::REFERRER_POLICY, "same-origin"),
];

/// The templates, parsed; one per process.
pub(super) struct Pages {
    tera: Tera,
    assets: Value,
}

impl Pages {
    /// Parses every template.
    pub(super) fn load() -> anyhow::Result<Self> {
        let mut tera = Tera::new();
        register(&mut tera)?;
        tera.add_raw_templates(TEMPLATES.iter().copied())?;
        let assets: HashMap<&str, String> = asset::addresses().collect();
        Ok(Self { tera, assets: Value::from_serializable(&assets) })
    }

    /// Begins a page in a language.
    pub(super) fn page(&self, template: &'static str, language: Language) -> Page<'_> {
        let mut context = Context::new();
        context.insert_value("t", Texts::of(language).value());
        context.insert_value("asset", self.assets.clone());
        context.insert("lang", language.as_str());
        context.insert("zone", "UTC");
        Page { pages: self, template, context, status: StatusCode::OK }
    }
}

/// A page in the making.
pub(super) struct Page<'a> {
    pages: &'a Pages,
    template: &'static str,
    context: Context,
    status: StatusCode,
}

impl Page<'_> {
    /// Gives the template a value.
    pub(super) fn with<T: Serialize + ?Sized>(mut self, key: &'static str, value: &T) -> Self {
        self.context.insert(key, value);
        self
    }

    /// Answers with another status.
    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Writes a part of a page.
    pub(super) fn text(self) -> Result<String, Failure> {
        let html = self.pages.tera.render(self.template, &self.context);
        html.map_err(|error| Failure::broken(format_args!("template {}: {error}", self.template)))
    }

    /// Writes the page.
    pub(super) fn show(self) -> Result<Response, Failure> {
        let status = self.status;
        let mut response = (status, Html(self.text()?)).into_response();
        add_headers(&mut response);
        Ok(response)
    }
}

/// Puts the headers of a page on an answer.
pub(super) fn add_headers(response: &mut Response) {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

/// The filters of our templates; language and zone are the page's.
fn register(tera: &mut Tera) -> anyhow::Result<()> {
    let (moments, amounts) = (Moments::load()?, std::sync::Arc::new(Amounts::load()?));
    // 2026-11-24 09:30, the same in every language, so that columns stay narrow and sort as they read.
    tera.register_filter("moment", |at: &str, _: Kwargs, state: &TeraState| written(at, zone(state), "%Y-%m-%d %H:%M"));
    tera.register_filter("second", |at: &str, _: Kwargs, state: &TeraState| {
        written(at, zone(state), "%Y-%m-%d %H:%M:%S")
    });
    // As the messages write it: Tuesday, 24 November 2026 at 09:30 WIB.
    tera.register_filter("moment_long", move |at: &str, _: Kwargs, state: &TeraState| {
        let moment = read(at);
        moment.and_then(|at| moments.write(at.fixed_offset(), zone(state), language(state))).unwrap_or_default()
    });
    let amounts_of = amounts.clone();
    tera.register_filter("amount", move |amount: &str, kwargs: Kwargs, state: &TeraState| {
        let currency: &str = kwargs.get("currency")?.unwrap_or_default();
        let written = amounts_of.write(amount, currency, language(state));
        Ok::<_, tera::Error>(written.unwrap_or_else(|| amount.to_owned()))
    });
    tera.register_filter("count", move |count: u64, _: Kwargs, state: &TeraState| {
        amounts.count(count, language(state))
    });
    tera.register_filter("fill", |text: &str, kwargs: Kwargs, _: &TeraState| {
        let mut filled = text.to_owned();
        for (name, value) in kwargs.iter() {
            filled = filled.replace(&format!("{{{name}}}"), &value.to_string());
        }
        filled
    });
    tera.register_filter("path", |text: &str, _: Kwargs, _: &TeraState| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    });
    Ok(())
}

fn language(state: &TeraState) -> Language {
    let language: Option<String> = state.get("lang").ok().flatten();
    language.and_then(|language| language.parse().ok()).unwrap_or(Language::En)
}

fn zone(state: &TeraState) -> Tz {
    let zone: Option<String> = state.get("zone").ok().flatten();
    zone.and_then(|zone| zone.parse().ok()).unwrap_or(Tz::UTC)
}

fn read(at: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(at).ok().map(|at| at.to_utc())
}

fn written(at: &str, zone: Tz, form: &str) -> String {
    read(at).map(|at| at.with_timezone(&zone).format(form).to_string()).unwrap_or_default()
}
