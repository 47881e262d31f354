//! A web of the test's own, and a browser without scripts: cookies, forms with their tokens, no redirects unseen.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use kmsnotif::config::{OidcConfig, WebConfig};
use kmsnotif::people::{self, Hasher, NewUser, Role, User};
use kmsnotif::queue::Events;
use kmsnotif::secret::Secret;
use kmsnotif::telemetry::metric::{Metrics, install_metrics};
use kmsnotif::web;
use reqwest::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::app::TestApp;
use super::build::keyring;

/// A process has one recorder of metrics.
pub(super) static METRICS: LazyLock<Metrics> = LazyLock::new(|| install_metrics().unwrap());

/// The password of everybody.
pub const PASSWORD: &str = "kuda baterai staples";

/// A page as it came.
#[derive(Debug, Clone)]
pub struct Page {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Page {
    /// Where it sends the browser.
    pub fn location(&self) -> &str {
        self.headers.get("location").map_or("", |value| value.to_str().unwrap())
    }

    /// The token of its forms.
    pub fn csrf(&self) -> Option<String> {
        let (_, rest) = self.text.split_once("name=\"csrf\" value=\"")?;
        Some(rest.split('"').next()?.to_owned())
    }

    /// Panics with the page unless all of these are in it.
    pub fn shows(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(self.text.contains(text), "{text:?} is not in: {} {}", self.status, self.text);
        }
        self
    }
}

/// A browser of one person.
#[derive(Debug, Default)]
pub struct Browser {
    pub url: String,
    pub cookies: BTreeMap<String, String>,
    pub csrf: String,
    client: reqwest::Client,
}

impl Browser {
    /// Asks for whatever, with the cookies so far; keeps those that come back.
    pub async fn ask(&mut self, method: Method, path: &str, form: Option<&[(&str, &str)]>) -> Page {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        if let Some(form) = form {
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        }
        let response = request.send().await.unwrap();
        for cookie in response.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let page = Page { status, headers, text: response.text().await.unwrap() };
        self.csrf = page.csrf().unwrap_or(std::mem::take(&mut self.csrf));
        page
    }

    /// The header of its cookies.
    pub fn cookie(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// Opens a page.
    pub async fn get(&mut self, path: &str) -> Page {
        self.ask(Method::GET, path, None).await
    }

    /// Opens a page that must be there.
    pub async fn open(&mut self, path: &str) -> Page {
        let page = self.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        page
    }

    /// Sends a form with the token of the page before.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.csrf.clone();
        let form: Vec<(&str, &str)> = [("csrf", csrf.as_str())].into_iter().chain(fields.iter().copied()).collect();
        self.ask(Method::POST, path, Some(&form)).await
    }

    /// Sends a form that is taken, and opens the page that it leads to.
    pub async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let page = self.post(path, fields).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{path}: {}", page.text);
        let to = page.location().to_owned();
        self.open(&to).await
    }

    /// Logs in.
    pub async fn log_in(&mut self, email: &str, password: &str) -> Page {
        self.open("/log-in").await;
        self.post("/log-in", &[("email", email), ("password", password)]).await
    }
}

impl TestApp {
    /// Starts a web inside this process, until the test's runtime ends; its address.
    pub async fn start_web(&self) -> String {
        let (url, stop) = self.start_web_to_stop().await;
        // Kept until the runtime ends.
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(stop);
        });
        url
    }

    /// As [`start_web`](Self::start_web), until it is told to stop.
    pub async fn start_web_to_stop(&self) -> (String, oneshot::Sender<()>) {
        self.start_web_with(None).await
    }

    /// As [`start_web_to_stop`](Self::start_web_to_stop), with a provider by which people may log in.
    pub async fn start_web_with(&self, oidc: Option<OidcConfig>) -> (String, oneshot::Sender<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let parts = web::Parts {
            pool: self.pool.clone(),
            queue: Arc::new(self.queue()),
            events: Arc::new(Events::new(self.namespace.client.clone(), &self.namespace.name)),
            keyring: keyring(),
            whatsapp: self.whatsapp(),
            config: WebConfig {
                port: 8000,
                public_url: format!("{url}/").parse().unwrap(),
                app_secrets: vec![Secret::new("app")],
                verify_token: Secret::new("verify"),
                payment_webhook_secrets: vec![Secret::new("pay")],
                oidc,
            },
            metrics: METRICS.clone(),
            schema_version: kmsnotif::cli::database::schema_version(),
        };
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        tokio::spawn(web::run(parts, listener, stopped));
        (url, stop)
    }

    /// Adds a user; tenants' roles are of `tenant`.
    pub async fn add_user(&self, email: &str, role: Role, tenant: &str) -> User {
        let tenant_id = if role.is_of_tenant() { Some(self.tenant(tenant).await.id) } else { None };
        let password_hash = Some(Hasher::default().hash(Secret::new(PASSWORD)).await.unwrap());
        let language = kmsnotif_jobs::Language::En;
        let new = NewUser { email: email.to_owned(), role, tenant_id, language, password_hash };
        people::store::insert(&self.pool, &new, "test").await.unwrap()
    }

    /// The address of the user who has this role in a test, added the first time.
    pub async fn ensure_user(&self, role: Role, tenant: &str) -> String {
        let email = format!("{role}@{tenant}.example");
        if people::store::find_by_email(&self.pool, &email).await.unwrap().is_none() {
            self.add_user(&email, role, tenant).await;
        }
        email
    }

    /// A browser in which a new user of this role is logged in.
    pub async fn browser(&self, url: &str, role: Role, tenant: &str) -> Browser {
        let email = self.ensure_user(role, tenant).await;
        let mut browser = Browser::of(url);
        let entered = browser.log_in(&email, PASSWORD).await;
        assert_eq!((entered.status, entered.location()), (StatusCode::SEE_OTHER, "/"), "{}", entered.text);
        browser.open("/account").await;
        browser
    }
}

impl Browser {
    /// A browser that nobody is logged in with.
    pub fn of(url: &str) -> Self {
        // The web closes a connection whose body it does not read; a form sent at that moment is nobody's answer.
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).pool_max_idle_per_host(0);
        let client = client.build().unwrap();
        Self { url: url.to_owned(), client, ..Self::default() }
    }
}
