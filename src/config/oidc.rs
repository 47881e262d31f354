//! `OIDC_…`: the provider by which people may log in to the console; all three variables, or none.

use std::time::Duration;

use url::{Host, Url};

use super::value::{ConfigError, Lookup};
use super::variable;
use crate::secret::Secret;

/// An OpenID Connect provider, and who we are there.
#[derive(Debug, Clone)]
pub struct OidcConfig {
    /// `OIDC_ISSUER`, as it was written: the provider's tokens must name it letter by letter.
    pub issuer: String,
    /// `OIDC_CLIENT_ID`.
    pub client_id: String,
    /// `OIDC_CLIENT_SECRET`.
    pub client_secret: Secret,
    /// So long one answer of the provider may take; no variable, for a person waits for it.
    pub timeout: Duration,
}

impl OidcConfig {
    /// What a person waits for at most.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// Reads `OIDC_ISSUER`, `OIDC_CLIENT_ID` and `OIDC_CLIENT_SECRET`; none when none is set.
    pub fn from_env(lookup: &Lookup) -> Result<Option<Self>, ConfigError> {
        let all = [variable::OIDC_ISSUER, variable::OIDC_CLIENT_ID, variable::OIDC_CLIENT_SECRET];
        if all.iter().all(|var| var.find(lookup).is_none()) {
            return Ok(None);
        }
        let [issuer_var, id, secret] = all;
        let issuer = issuer_var.get(lookup)?;
        let url = issuer_var.http_url(&issuer)?;
        // A provider is believed because of its certificate, and is sent our secret.
        if url.scheme() == "http" && !is_this_machine(&url) {
            return Err(issuer_var.wrong("the address of another machine starts with https://"));
        }
        Ok(Some(Self {
            issuer,
            client_id: id.get(lookup)?,
            client_secret: Secret::new(secret.get(lookup)?),
            timeout: Self::TIMEOUT,
        }))
    }
}

/// Whether an address leads to no other machine.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
