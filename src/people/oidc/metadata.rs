//! What the provider says of itself (OpenID Connect Discovery 1.0) and its keys, kept for a while.
//!
//! Both are read when somebody logs in, not before: a provider that is away stops no process. What was read before goes
//! on to hold while it cannot be read anew, for the exchange of the code tells soon enough whether it is still true.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::ProviderError;
use super::http::Http;
use crate::config::is_this_machine;

/// Read again after so long; a key that is not known is asked for at once.
const FRESH_FOR: Duration = Duration::from_hours(1);
/// Where every provider describes itself, behind its issuer.
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Of the description what a log-in needs.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    jwks_uri: Url,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Metadata {
    /// Whether the client's secret goes in the form; the standard's default is a header.
    pub(super) fn takes_secret_in_form(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
        let has = |wanted: &str| methods.iter().any(|method| method == wanted);
        has("client_secret_post") && !has("client_secret_basic")
    }

    /// Refuses a description that is another's, or leads where it could be read on the way.
    fn check(&self, issuer: &str) -> Result<(), ProviderError> {
        let wrong = |what: String| Err(ProviderError::Wrong(what));
        if self.issuer != issuer {
            return wrong(format!("it calls itself {:?}, and OIDC_ISSUER is {issuer:?}", self.issuer));
        }
        let open = |url: &&Url| url.scheme() != "https" && !(url.scheme() == "http" && is_this_machine(url));
        if let Some(url) = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri].into_iter().find(open) {
            return wrong(format!("the address {} is without TLS", url.path()));
        }
        // Silence is no refusal: many do not list it and take it.
        match &self.code_challenge_methods_supported {
            Some(methods) if !methods.iter().any(|method| method == "S256") => {
                wrong("it takes no PKCE (S256)".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Something that was read, and when.
#[derive(Debug)]
struct Kept<T: ?Sized>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T: ?Sized> Kept<T> {
    fn find(&self) -> Option<(Instant, Arc<T>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, value: Arc<T>) -> Arc<T> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), value.clone()));
        value
    }

    /// What is kept while it is fresh; else what is read now; else what was kept.
    async fn get(&self, read: impl Future<Output = Result<Arc<T>, ProviderError>>) -> Result<Arc<T>, ProviderError> {
        let kept = self.find();
        if let Some((_, value)) = kept.as_ref().filter(|(at, _)| at.elapsed() < FRESH_FOR) {
            return Ok(value.clone());
        }
        match (read.await, kept) {
            (Err(error), Some((_, value))) => {
                tracing::warn!(%error, "what the provider said before is used on");
                Ok(value)
            }
            (read, _) => read,
        }
    }
}

/// What is known of the provider.
#[derive(Debug)]
pub(super) struct Known {
    issuer: String,
    discovery: Url,
    metadata: Kept<Metadata>,
    keys: Kept<[Jwk]>,
}

impl Known {
    /// Nothing yet.
    pub(super) fn new(issuer: &str) -> Result<Self, url::ParseError> {
        let discovery = Url::parse(&format!("{}{DISCOVERY}", issuer.trim_end_matches('/')))?;
        let (metadata, keys) = (Kept(Mutex::new(None)), Kept(Mutex::new(None)));
        Ok(Self { issuer: issuer.to_owned(), discovery, metadata, keys })
    }

    pub(super) async fn metadata(&self, http: &Http) -> Result<Arc<Metadata>, ProviderError> {
        self.metadata.get(self.newest_metadata(http)).await
    }

    pub(super) async fn newest_metadata(&self, http: &Http) -> Result<Arc<Metadata>, ProviderError> {
        let metadata: Metadata = http.get(&self.discovery).await?;
        metadata.check(&self.issuer)?;
        Ok(self.metadata.keep(Arc::new(metadata)))
    }

    pub(super) async fn keys(&self, http: &Http, metadata: &Metadata) -> Result<Arc<[Jwk]>, ProviderError> {
        self.keys.get(self.newest_keys(http, metadata)).await
    }

    pub(super) async fn newest_keys(&self, http: &Http, metadata: &Metadata) -> Result<Arc<[Jwk]>, ProviderError> {
        let set: KeySet = http.get(&metadata.jwks_uri).await?;
        // One key of a kind that is not known must not hide the others.
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        Ok(self.keys.keep(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(change: impl FnOnce(&mut Value)) -> Metadata {
        let mut document = serde_json::json!({
            "issuer": "https://login.example",
            "authorization_endpoint": "https://login.example/authorize?tenant=1",
            "token_endpoint": "https://login.example/token",
            "jwks_uri": "https://login.example/keys",
        });
        change(&mut document);
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn a_description_that_is_anothers_or_leads_into_the_open_is_refused() {
        let check = |change: fn(&mut Value)| metadata(change).check("https://login.example").is_ok();
        assert!(check(|_| ()));
        assert!(check(|document| document["code_challenge_methods_supported"] = serde_json::json!(["plain", "S256"])));
        for wrong in [
            (|document| document["issuer"] = "https://login.example/".into()) as fn(&mut Value),
            |document| document["issuer"] = "https://evil.example".into(),
            |document| document["token_endpoint"] = "http://login.example/token".into(),
            |document| document["jwks_uri"] = "file:///etc/passwd".into(),
            |document| document["authorization_endpoint"] = "javascript:alert(1)".into(),
            |document| document["code_challenge_methods_supported"] = serde_json::json!(["plain"]),
        ] {
            assert!(!check(wrong));
        }
    }

    #[test]
    fn the_secret_goes_in_a_header_unless_only_the_form_is_taken() {
        let in_form = |methods: &[&str]| {
            metadata(|document| document["token_endpoint_auth_methods_supported"] = serde_json::json!(methods))
                .takes_secret_in_form()
        };
        assert!(!metadata(|_| ()).takes_secret_in_form());
        assert!(!in_form(&["client_secret_post", "client_secret_basic"]));
        assert!(in_form(&["private_key_jwt", "client_secret_post"]));
    }
}
