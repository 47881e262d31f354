//! The ID token: whose it is, and whether it is believed (OpenID Connect Core 1.0, section 3.1.3.7).

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

use super::{Identity, signature};
use crate::secret::constant_time_eq;

/// How far the provider's clock may be from ours, in seconds.
const LEEWAY_S: u64 = 60;
/// Longest id of a person (the standard's own limit).
const SUBJECT_MAX: usize = 255;

/// Why a token is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    /// None of the keys made its signature; the provider may have newer ones.
    #[error("the signature of the ID token is of none of its keys")]
    Key,
    /// Nothing that a newer key would change.
    #[error("the ID token is refused: {0}")]
    Token(String),
}

/// Of the claims those that matter.
#[derive(Deserialize)]
struct Claims {
    /// One, and no list, which the library would take too.
    iss: String,
    sub: String,
    /// One name or a list of them.
    aud: Value,
    azp: Option<String>,
    nonce: Option<String>,
    email: Option<String>,
    #[serde(default)]
    email_verified: Value,
}

/// Believes a token of this issuer for this client in this log-in, or says why not.
pub(super) fn judge(token: &str, keys: &[Jwk], issuer: &str, client: &str, nonce: &str) -> Result<Identity, Wrong> {
    let refuse = |what: &str| Wrong::Token(what.to_owned());
    // `none` is no algorithm that the library knows, and ends here.
    let header = decode_header(token).map_err(|_| refuse("it cannot be read, or names no algorithm that is taken"))?;
    if !signature::is_taken(header.alg) || header.crit.is_some() {
        return Err(refuse("its algorithm is not taken"));
    }
    let key = find_key(keys, &header).ok_or(Wrong::Key)?;
    let key = DecodingKey::from_jwk(key).map_err(|_| Wrong::Key)?;
    let mut validation = Validation::new(header.alg);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[client]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims = match decode::<Claims>(token, &key, &validation) {
        Ok(decoded) => decoded.claims,
        Err(error) => {
            return Err(match error.kind() {
                ErrorKind::InvalidSignature => Wrong::Key,
                // These name a claim, and quote none.
                kind @ (ErrorKind::ExpiredSignature
                | ErrorKind::ImmatureSignature
                | ErrorKind::InvalidIssuer
                | ErrorKind::InvalidAudience
                | ErrorKind::MissingRequiredClaim(_)) => Wrong::Token(format!("{kind:?}")),
                _ => refuse("its claims cannot be read"),
            });
        }
    };
    if claims.iss != issuer {
        return Err(refuse("it is of another issuer"));
    }
    let is_ours_alone = claims.aud.as_array().is_none_or(|all| all.len() == 1);
    if claims.azp.as_deref().map_or(!is_ours_alone, |azp| azp != client) {
        return Err(refuse("it was made for another client (azp)"));
    }
    if !constant_time_eq(claims.nonce.unwrap_or_default().as_bytes(), nonce.as_bytes()) {
        return Err(refuse("it is of another log-in (nonce)"));
    }
    if claims.sub.is_empty() || claims.sub.chars().count() > SUBJECT_MAX || claims.sub.contains('\0') {
        return Err(refuse("it names nobody (sub)"));
    }
    // Some write the truth as a word.
    let is_verified = claims.email_verified == Value::Bool(true) || claims.email_verified == "true";
    let verified_email = claims.email.filter(|_| is_verified);
    Ok(Identity { issuer: issuer.to_owned(), subject: claims.sub, verified_email })
}

/// Whether tokens may be signed by a key, as far as the key itself says.
pub(super) fn is_usable(key: &Jwk) -> bool {
    let is_for_signatures = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    is_for_signatures && matches!(key.algorithm, AlgorithmParameters::RSA(_) | AlgorithmParameters::EllipticCurve(_))
}

/// The key that a token names; without a name the only one that could be meant.
fn find_key<'a>(keys: &'a [Jwk], header: &Header) -> Option<&'a Jwk> {
    let fits = |key: &&Jwk| {
        let is_of_kind = match (&key.algorithm, header.alg) {
            (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
            (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => key.curve == EllipticCurve::P384,
            (AlgorithmParameters::RSA(_), algorithm) => !matches!(algorithm, Algorithm::ES256 | Algorithm::ES384),
            _ => false,
        };
        let said = key.common.key_algorithm.map(|said| said.to_string());
        is_usable(key) && is_of_kind && said.is_none_or(|said| said == format!("{:?}", header.alg))
    };
    let mut fitting = keys.iter().filter(fits);
    match &header.kid {
        Some(kid) => fitting.find(|key| key.common.key_id.as_ref() == Some(kid)),
        None => fitting.next().filter(|_| fitting.next().is_none()),
    }
}
