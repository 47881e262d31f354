//! Who may call the webhook: the signature of each delivery and the handshake at subscription.
//!
//! Both compare in constant time; neither says which part was wrong.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The longest challenge that is echoed; Meta sends about ten digits.
const CHALLENGE_BYTES_MAX: usize = 256;

/// Tells whether one of the app secrets signed these raw bytes.
///
/// `header` is the whole value of `X-Hub-Signature-256`, `sha256=<hex>`. The signature covers the bytes as they
/// arrived: parse afterwards. Several secrets are accepted while one replaces another; an empty one never is.
pub fn verify_signature<S: AsRef<[u8]>>(secrets: &[S], header: &str, raw: &[u8]) -> bool {
    let mut presented = [0_u8; 32];
    let Some(digits) = header.trim().strip_prefix("sha256=") else { return false };
    if hex::decode_to_slice(digits, &mut presented).is_err() {
        return false;
    }
    // Every secret is tried: the time taken must not tell which of them signed.
    secrets.iter().fold(false, |verified, secret| verified | signed(secret.as_ref(), raw, &presented))
}

fn signed(secret: &[u8], raw: &[u8], presented: &[u8; 32]) -> bool {
    let Some(mac) = keyed(secret) else { return false };
    mac.chain_update(raw).verify_slice(presented).is_ok()
}

fn keyed(key: &[u8]) -> Option<Hmac<Sha256>> {
    if key.is_empty() { None } else { Hmac::<Sha256>::new_from_slice(key).ok() }
}

/// Answers Meta's subscription request: the challenge to echo, or nothing.
///
/// `params` are the decoded query parameters. Send the challenge back as `text/plain`: it is the caller's text.
/// Source: Meta, "Create a webhook endpoint", 2026-05-21.
pub fn handshake<'a>(verify_token: &str, params: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<&'a str> {
    let (mut mode, mut token, mut challenge) = (None, None, None);
    for (name, value) in params {
        match name {
            "hub.mode" => mode = Some(value),
            "hub.verify_token" => token = Some(value),
            "hub.challenge" => challenge = Some(value),
            _ => {}
        }
    }
    let known = mode == Some("subscribe") && same_secret(verify_token, token?);
    challenge.filter(|challenge| known && !challenge.is_empty() && challenge.len() <= CHALLENGE_BYTES_MAX)
}

/// Compares by MACs under the secret: constant time, whatever the lengths.
fn same_secret(ours: &str, presented: &str) -> bool {
    let Some(mac) = keyed(ours.as_bytes()) else { return false };
    let expected = mac.clone().chain_update(ours).finalize().into_bytes();
    mac.chain_update(presented).verify_slice(&expected).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the reference: HMAC("test", key "secret").
    const VECTOR: &str = "sha256=0329a06b62cd16b33eb6792be8c60b158d89a2ee3a876fce9a881ebb488c0914";

    #[test]
    fn the_known_vector_verifies() {
        assert!(verify_signature(&["secret"], VECTOR, b"test"));
        assert!(verify_signature(&["new", "secret"], VECTOR, b"test"));
        assert!(verify_signature(&["secret", "new"], &VECTOR.replace('a', "A").replace("shA", "sha"), b"test"));
    }

    #[test]
    fn anything_else_does_not() {
        assert!(!verify_signature(&["secret"], VECTOR, b"test "));
        assert!(!verify_signature(&["Secret"], VECTOR, b"test"));
        assert!(!verify_signature::<&str>(&[], VECTOR, b"test"));
        for header in ["", "sha256=", "sha1=00", &VECTOR[7..], &VECTOR[..70], &format!("{VECTOR}00"), "sha256=é"] {
            assert!(!verify_signature(&["secret"], header, b"test"), "{header}");
        }
    }

    #[test]
    fn an_empty_secret_signs_nothing() {
        let mac = Hmac::<Sha256>::new_from_slice(b"").unwrap().chain_update(b"test").finalize().into_bytes();
        assert!(!verify_signature(&[""], &format!("sha256={}", hex::encode(mac)), b"test"));
        assert_eq!(handshake("", params("subscribe", "", "1")), None);
    }

    fn params<'a>(mode: &'a str, token: &'a str, challenge: &'a str) -> [(&'a str, &'a str); 3] {
        [("hub.mode", mode), ("hub.challenge", challenge), ("hub.verify_token", token)]
    }

    #[test]
    fn the_handshake_echoes_the_challenge_to_who_knows_the_token() {
        assert_eq!(handshake("token", params("subscribe", "token", "1158201444")), Some("1158201444"));
        assert_eq!(handshake("token", params("subscribe", "Token", "1158201444")), None);
        assert_eq!(handshake("token", params("subscribe", "token1", "1158201444")), None);
        assert_eq!(handshake("token", params("unsubscribe", "token", "1158201444")), None);
        assert_eq!(handshake("token", params("subscribe", "token", "")), None);
        assert_eq!(handshake("token", []), None);
    }
}
