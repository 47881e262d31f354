//! How the provider is asked: within a time and a size, by TLS, following no redirect, through no proxy.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::ProviderError;
use crate::secret::Secret;

/// The longest answer that is read; keys and tokens take a few kilobytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// The client.
#[derive(Debug)]
pub(super) struct Http(reqwest::Client);

/// What a provider says when it refuses (RFC 6749, 5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Http {
    pub(super) fn new(timeout: Duration) -> anyhow::Result<Self> {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("kmsnotif/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN.min(timeout))
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .build()?;
        Ok(Self(client))
    }

    /// Reads a document of the provider.
    pub(super) async fn get<T: DeserializeOwned>(&self, url: &Url) -> Result<T, ProviderError> {
        let (status, body) = answer(self.0.get(url.clone()).header(ACCEPT, "application/json")).await?;
        match status {
            StatusCode::OK => read(&body, url),
            status if is_away(status) => Err(ProviderError::Away(format!("{status} at {}", url.path()))),
            status => Err(ProviderError::Wrong(format!("{status} at {}", url.path()))),
        }
    }

    /// Gives a code and takes what it is worth; `in_form`: the secret stands beside it, else in a header.
    pub(super) async fn exchange<T: DeserializeOwned>(
        &self,
        url: &Url,
        in_form: bool,
        (id, secret): (&str, &Secret),
        fields: &[(&str, &str)],
    ) -> Result<T, ProviderError> {
        let mut request = self.0.post(url.clone()).header(ACCEPT, "application/json");
        let beside = [("client_id", id), ("client_secret", secret.expose())];
        if !in_form {
            // Encoded before they are joined (RFC 6749, 2.3.1): a colon in the id would end it.
            let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            request = request.basic_auth(encode(id), Some(encode(secret.expose())));
        }
        let fields = fields.iter().chain(beside.iter().filter(|_| in_form));
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let (status, body) = answer(request).await?;
        if status == StatusCode::OK {
            return read(&body, url);
        }
        if is_away(status) {
            return Err(ProviderError::Away(format!("{status} at {}", url.path())));
        }
        // Only words of the standard are repeated: whatever else it says may hold what we sent.
        match serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.error).as_deref() {
            Ok("invalid_grant") => Err(ProviderError::Code),
            Ok("invalid_client" | "unauthorized_client") => {
                Err(ProviderError::Wrong("it does not take OIDC_CLIENT_ID and OIDC_CLIENT_SECRET".to_owned()))
            }
            _ => Err(ProviderError::Wrong(format!("{status} at {}", url.path()))),
        }
    }
}

/// Whether trying again later may help.
fn is_away(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn read<T: DeserializeOwned>(body: &[u8], url: &Url) -> Result<T, ProviderError> {
    // The error of the library may quote the answer, and with it a token.
    serde_json::from_slice(body)
        .map_err(|error| ProviderError::Wrong(format!("no such JSON at {} (line {})", url.path(), error.line())))
}

async fn answer(request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), ProviderError> {
    let mut response = request.send().await.map_err(away)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(away)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            // The rest goes with its connection: reading it could take for ever.
            return Err(ProviderError::Wrong(format!("an answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), body))
}

/// The last cause, without the address, which may hold a code.
fn away(error: reqwest::Error) -> ProviderError {
    let error = error.without_url();
    let mut last: &dyn Error = &error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    ProviderError::Away(if error.is_timeout() { "it takes too long".to_owned() } else { last.to_string() })
}
