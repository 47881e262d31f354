//! The OpenID Connect provider by which people may log in: where a browser is sent, and who came back.
//!
//! The life of a log-in here: the provider's own description is read (`metadata`); the browser is sent there with a
//! state, a nonce and the challenge of a verifier (PKCE); it comes back with a code, which is exchanged for an ID token
//! (`http`); the token is believed when its signature is of a key of the provider, and it is of this issuer, for this
//! client, of now and of this log-in (`token`, `signature`). Which user that is, `people/identity.rs` says.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use url::Url;

use crate::config::OidcConfig;
use crate::secret::Secret;

mod http;
mod metadata;
mod signature;
mod token;

use http::Http;
use metadata::{Known, Metadata};
use token::Wrong;

/// What we ask for: an ID token with the e-mail address.
const SCOPE: &str = "openid email";
/// Of the time-outs of one answer, what a whole exchange may take: it asks up to four times.
const EXCHANGE_ANSWERS: u32 = 3;

/// Why the provider says nothing that could be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It does not answer, or says that it cannot.
    #[error("the provider does not answer: {0}")]
    Away(String),
    /// It does not know this code, or no longer: used before, or too old.
    #[error("the provider refuses the code")]
    Code,
    /// What it says does not fit what we are told, or is not its own.
    #[error("the provider's answer is not believed: {0}")]
    Wrong(String),
}

/// What ties a log-in together; made anew for each.
#[derive(Debug, Clone)]
pub struct Ties {
    /// Comes back with the browser.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Its digest goes with the browser, it with the code.
    pub verifier: String,
}

/// Whom the provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// Its own id of the person, which never changes and is never given to another.
    pub subject: String,
    /// The e-mail address, if the provider has made sure that it is the person's.
    pub verified_email: Option<String>,
}

/// The provider; one per process.
#[derive(Debug)]
pub struct Provider {
    config: OidcConfig,
    redirect: Url,
    name: String,
    http: Http,
    known: Known,
}

/// What the provider answers to a code.
#[derive(Deserialize)]
struct Exchanged {
    id_token: String,
}

impl Provider {
    /// Where a browser comes back to, below the public address.
    pub const CALLBACK: &str = "/log-in/oidc/callback";

    /// Asks nobody yet: a provider that is away stops no process.
    pub fn new(config: OidcConfig, public_url: &Url) -> anyhow::Result<Self> {
        signature::install();
        let http = Http::new(config.timeout)?;
        let redirect = public_url.join(Self::CALLBACK.trim_start_matches('/'))?;
        let host = Url::parse(&config.issuer)?.host_str().unwrap_or_default().to_owned();
        Ok(Self { known: Known::new(&config.issuer)?, config, redirect, name: host, http })
    }

    /// What people know it by: its host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its tokens call it.
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Where to send a browser.
    pub async fn address(&self, ties: &Ties) -> Result<Url, ProviderError> {
        let metadata = self.known.metadata(&self.http).await?;
        let mut address = metadata.authorization_endpoint.clone();
        address
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", self.redirect.as_str())
            .append_pair("scope", SCOPE)
            .append_pair("state", &ties.state)
            .append_pair("nonce", &ties.nonce)
            .append_pair("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&ties.verifier)))
            .append_pair("code_challenge_method", "S256");
        Ok(address)
    }

    /// Exchanges the code of a log-in for whom it is of; a code works once.
    pub async fn identify(&self, code: &str, nonce: &str, verifier: &str) -> Result<Identity, ProviderError> {
        let most = self.config.timeout * EXCHANGE_ANSWERS;
        let identified = timeout(most, async {
            let metadata = self.known.metadata(&self.http).await?;
            let token = self.exchange(&metadata, code, verifier).await?;
            self.read(&metadata, &token, nonce).await
        });
        identified.await.unwrap_or_else(|_| Err(ProviderError::Away("it takes too long".to_owned())))
    }

    async fn exchange(&self, metadata: &Metadata, code: &str, verifier: &str) -> Result<Secret, ProviderError> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect.as_str()),
            ("code_verifier", verifier),
        ];
        let client = (self.config.client_id.as_str(), &self.config.client_secret);
        let exchanged: Exchanged =
            self.http.exchange(&metadata.token_endpoint, metadata.takes_secret_in_form(), client, &fields).await?;
        Ok(Secret::new(exchanged.id_token))
    }

    /// Believes a token, or says why not; a key that is not known is asked for once, for providers change them.
    async fn read(&self, metadata: &Metadata, token: &Secret, nonce: &str) -> Result<Identity, ProviderError> {
        let keys = self.known.keys(&self.http, metadata).await?;
        let judge = |keys: &Arc<[_]>| token::judge(token.expose(), keys, self.issuer(), &self.config.client_id, nonce);
        let judged = match judge(&keys) {
            Err(Wrong::Key) => judge(&self.known.newest_keys(&self.http, metadata).await?),
            judged => judged,
        };
        judged.map_err(|wrong| ProviderError::Wrong(wrong.to_string()))
    }

    /// Reads the description and the keys anew, for `doctor`; how many keys there are to verify with.
    pub async fn examine(&self) -> Result<usize, ProviderError> {
        let metadata = self.known.newest_metadata(&self.http).await?;
        let keys = self.known.newest_keys(&self.http, &metadata).await?;
        match keys.iter().filter(|key| token::is_usable(key)).count() {
            0 => Err(ProviderError::Wrong("it has no key that a token could be verified with".to_owned())),
            keys => Ok(keys),
        }
    }
}
