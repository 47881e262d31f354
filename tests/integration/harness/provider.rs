//! An OpenID Connect provider of the test's own: real keys, real tokens, and whatever may be wrong with them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use kmsnotif::config::OidcConfig;
use kmsnotif::secret::Secret;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

const CLIENT: &str = "kmsnotif";
/// With what must be encoded in a header.
const CLIENT_SECRET: &str = "hunter2: +%";

/// What signs tokens.
pub enum Key {
    /// RS256; one key of the tests', which signs nothing else anywhere.
    Rsa(RsaKeyPair),
    /// ES256, made anew.
    Curve(EcdsaKeyPair),
}

impl Key {
    pub fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(include_bytes!("provider_rsa.der")).unwrap())
    }

    pub fn curve() -> Self {
        let (way, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(way, &random).unwrap();
        Self::Curve(EcdsaKeyPair::from_pkcs8(way, made.as_ref(), &random).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Curve(_) => "ES256",
        }
    }

    fn published(&self, id: &str) -> Value {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(key) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = key.public().into();
                json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": encode(&n), "e": encode(&e) })
            }
            Self::Curve(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": encode(x), "y": encode(y) })
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Curve(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
        }
    }
}

/// What is wrong with all that the provider answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Unavailable,
    Silent,
    Endless,
    Elsewhere,
}

/// Changes header and claims before they are signed.
pub type Change = fn(&mut Value, &mut Value);

struct Code {
    nonce: String,
    challenge: String,
    redirect: String,
}

/// What a test may set and read.
pub struct Inner {
    /// Who is logged in at the provider.
    pub claims: Value,
    pub fault: Option<Fault>,
    pub change: Change,
    /// The id that tokens name, and what signs them.
    pub signer: (String, Key),
    /// Requests by their paths.
    pub asked: HashMap<String, usize>,
    published: Vec<Value>,
    codes: HashMap<String, Code>,
    issuer: String,
}

/// A provider that listens until the test's runtime ends.
#[derive(Clone)]
pub struct Provider {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/realm", listener.local_addr().unwrap());
        let inner = Inner {
            claims: json!({}),
            fault: None,
            change: |_, _| (),
            signer: (String::new(), Key::rsa()),
            asked: HashMap::new(),
            published: Vec::new(),
            codes: HashMap::new(),
            issuer: url.clone(),
        };
        let provider = Self { url, inner: Arc::new(Mutex::new(inner)) };
        provider.sign_with("first", Key::rsa());
        let router = Router::new()
            .route("/realm/.well-known/openid-configuration", get(describe))
            .route("/realm/authorize", get(authorize))
            .route("/realm/keys", get(keys))
            .route("/realm/token", post(exchange))
            .layer(from_fn_with_state(provider.clone(), observe))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub fn config(&self) -> OidcConfig {
        OidcConfig {
            issuer: self.url.clone(),
            client_id: CLIENT.to_owned(),
            client_secret: Secret::new(CLIENT_SECRET),
            timeout: Duration::from_secs(20),
        }
    }

    /// The environment of a process that uses it.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        vec![("OIDC_ISSUER", &self.url), ("OIDC_CLIENT_ID", CLIENT), ("OIDC_CLIENT_SECRET", CLIENT_SECRET)]
    }

    pub fn set(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Who logs in there from now on.
    pub fn person(&self, subject: &str, email: &str, verified: bool) {
        self.set().claims = json!({ "sub": subject, "email": email, "email_verified": verified });
    }

    /// Signs with another key from now on, and publishes it alone, beside one of a kind that nobody knows.
    pub fn sign_with(&self, id: &str, key: Key) {
        let mut inner = self.set();
        let odd = json!({ "kty": "lattice", "use": "sig", "kid": "odd" });
        let published = key.published(id);
        inner.published = vec![odd, published];
        inner.signer = (id.to_owned(), key);
    }

    /// Lets in who was sent here: the path and query to which the browser goes back.
    pub fn approve(&self, sent_to: &str) -> String {
        let url = Url::parse(sent_to).unwrap();
        let sent: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(url.path(), "/realm/authorize");
        let expected = [("response_type", "code"), ("client_id", CLIENT), ("code_challenge_method", "S256")];
        for (name, value) in expected {
            assert_eq!(sent[name], value, "{sent:?}");
        }
        assert_eq!(sent["scope"], "openid email");
        let code = Uuid::now_v7().to_string();
        let [nonce, challenge, redirect] = ["nonce", "code_challenge", "redirect_uri"].map(|name| sent[name].clone());
        let back = Url::parse(&redirect).unwrap().path().to_owned();
        self.set().codes.insert(code.clone(), Code { nonce, challenge, redirect });
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("code", &code).append_pair("state", &sent["state"]).append_pair("iss", &self.url);
        format!("{back}?{}", query.finish())
    }
}

async fn observe(State(provider): State<Provider>, request: Request, next: Next) -> Response {
    let fault = {
        let mut inner = provider.set();
        *inner.asked.entry(request.uri().path().to_owned()).or_default() += 1;
        inner.fault
    };
    match fault {
        None => next.run(request).await,
        Some(Fault::Unavailable) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::Elsewhere) => Redirect::temporary("http://127.0.0.1:1/").into_response(),
        Some(Fault::Endless) => {
            let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 * 1024])));
            Body::from_stream(chunks).into_response()
        }
    }
}

async fn describe(State(provider): State<Provider>) -> Json<Value> {
    let (inner, at) = (provider.set(), |path: &str| format!("{}/{path}", provider.url));
    Json(json!({
        "issuer": inner.issuer,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "jwks_uri": at("keys"),
        "code_challenge_methods_supported": ["S256"],
    }))
}

/// Who is there already is let in without a question, as browsers know it of a provider that they used this morning.
async fn authorize(State(provider): State<Provider>, request: Request) -> Redirect {
    let here = Url::parse(&provider.url).unwrap();
    let sent_to = here.join(&request.uri().to_string()).unwrap();
    let (_, redirect) = sent_to.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap();
    Redirect::to(Url::parse(&redirect).unwrap().join(&provider.approve(sent_to.as_str())).unwrap().as_str())
}

async fn keys(State(provider): State<Provider>) -> Json<Value> {
    Json(json!({ "keys": provider.set().published }))
}

/// Who the client says it is.
fn client(headers: &HeaderMap) -> Option<(String, String)> {
    let basic = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(basic).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((decode(id), decode(secret)))
}

async fn exchange(State(provider): State<Provider>, headers: HeaderMap, body: Bytes) -> Response {
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    if client(&headers) != Some((CLIENT.to_owned(), CLIENT_SECRET.to_owned())) {
        return refuse("invalid_client");
    }
    let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let mut inner = provider.set();
    let Some(code) = inner.codes.remove(&form["code"]) else { return refuse("invalid_grant") };
    let proven = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"])) == code.challenge;
    if !proven || form["redirect_uri"] != code.redirect || form["grant_type"] != "authorization_code" {
        return refuse("invalid_grant");
    }
    let token = token(&inner, &code.nonce);
    Json(json!({ "access_token": "x", "token_type": "Bearer", "id_token": token })).into_response()
}

fn token(inner: &Inner, nonce: &str) -> String {
    let now = chrono::Utc::now().timestamp();
    let (id, key) = &inner.signer;
    let mut head = json!({ "typ": "JWT", "alg": key.algorithm(), "kid": id });
    let mut claims = inner.claims.clone();
    for (name, value) in [
        ("iss", json!(inner.issuer)),
        ("aud", json!(CLIENT)),
        ("iat", json!(now)),
        ("exp", json!(now + 300)),
        ("nonce", json!(nonce)),
    ] {
        claims[name] = value;
    }
    (inner.change)(&mut head, &mut claims);
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&head), encode(&claims));
    let signature = match head["alg"].as_str().unwrap() {
        "none" => Vec::new(),
        "HS256" => {
            use hmac::{KeyInit as _, Mac as _};
            let mac = hmac::Hmac::<Sha256>::new_from_slice(CLIENT_SECRET.as_bytes()).unwrap();
            mac.chain_update(&message).finalize().into_bytes().to_vec()
        }
        _ => key.sign(message.as_bytes()),
    };
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
