//! The provider by which people log in: whether it answers, fits its issuer, and has keys.

use super::Finding;
use crate::config::{Lookup, OidcConfig};
use crate::people::oidc::{Provider, ProviderError};

/// Reads the provider's description and keys; nothing to say where none is set, or by half, which was told already.
pub(super) async fn provider(lookup: &Lookup<'_>) -> Option<Finding> {
    const CHECK: &str = "oidc provider";
    let config = OidcConfig::from_env(lookup).ok()??;
    // Only where people come back to hangs on the public address, and nobody goes there now.
    let public_url = "https://host.example".parse().expect("it is an address");
    let provider = match Provider::new(config, &public_url) {
        Ok(provider) => provider,
        Err(error) => return Some(Finding::fail(CHECK, error.to_string(), "correct OIDC_ISSUER")),
    };
    Some(match provider.examine().await {
        Ok(keys) => Finding::ok(CHECK, format!("{} answers, fits its issuer, keys: {keys}", provider.issuer())),
        Err(error) => {
            let remedy = match &error {
                ProviderError::Away(_) => {
                    "check OIDC_ISSUER and the way there; people with a password log in by it meanwhile"
                }
                _ => "copy OIDC_ISSUER from the field `issuer` of the provider's /.well-known/openid-configuration",
            };
            Finding::fail(CHECK, error.to_string(), remedy)
        }
    })
}
