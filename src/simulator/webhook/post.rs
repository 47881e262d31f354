//! One POST to the receiver of webhooks: signed over its raw bytes, answered by 200 or not delivered.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use url::Url;

/// How long the receiver may take.
const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// Posts signed bodies.
pub struct Poster {
    secret: Vec<u8>,
    client: reqwest::Client,
}

impl Poster {
    pub fn new(secret: &str) -> Result<Self, reqwest::Error> {
        Ok(Self { secret: secret.as_bytes().to_vec(), client: client()? })
    }

    /// Whether the receiver took the body.
    pub async fn post(&self, url: Url, body: &[u8]) -> bool {
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("x-hub-signature-256", signature(&self.secret, body))
            .body(body.to_vec());
        match request.send().await {
            Ok(response) if response.status() == 200 => true,
            Ok(response) => {
                tracing::debug!(status = response.status().as_u16(), "the receiver did not take a webhook");
                false
            }
            Err(error) => {
                tracing::debug!(%error, "the receiver did not answer a webhook");
                false
            }
        }
    }
}

/// The header `X-Hub-Signature-256` over the raw bytes.
pub fn signature(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// A client that needs neither a proxy nor, for plain HTTP, any certificate on the machine.
fn client() -> Result<reqwest::Client, reqwest::Error> {
    // reqwest is built without a crypto provider; a provider installed earlier by the process is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || reqwest::Client::builder().timeout(POST_TIMEOUT).no_proxy().http1_only();
    // A machine without CA certificates can still deliver to http:// receivers.
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_metas() {
        assert_eq!(
            signature(b"secret", b"test"),
            "sha256=0329a06b62cd16b33eb6792be8c60b158d89a2ee3a876fce9a881ebb488c0914"
        );
    }
}
