//! Who may report payments: the header `X-Signature: t=<unix>,v1=<hex HMAC-SHA256(secret, t + "." + raw body)>`.
//!
//! The moment is signed too, so that a delivery that was overheard cannot be played again later.

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How far the signed moment may be from ours, before or after.
pub const TOLERANCE: TimeDelta = TimeDelta::seconds(300);
/// Signatures in one header that are tried: a gateway that rotates its secret sends two.
const SIGNATURES_MAX: usize = 8;

/// Why a delivery is not taken for genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header has another form.
    #[error("X-Signature is not t=<unix seconds>,v1=<hex>")]
    Form,
    /// The moment is too far from ours.
    #[error("the moment in X-Signature is more than {} s from ours", TOLERANCE.num_seconds())]
    Stale,
    /// No secret signed it.
    #[error("X-Signature fits no PAYMENT_WEBHOOK_SECRET")]
    Forged,
}

/// The header, read; nothing is proven yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// As it was written: these bytes are signed.
    moment: &'a str,
    signatures: Vec<[u8; 32]>,
}

impl<'a> Header<'a> {
    /// Reads the header and refuses a moment that is too far from `now`; before anything of the body is read.
    ///
    /// Parts of other names are ignored, so that a gateway may sign in a second way too.
    pub fn read(text: &'a str, now: DateTime<Utc>) -> Result<Self, SignatureError> {
        let (mut moment, mut signatures) = (None, Vec::new());
        for part in text.split(',') {
            match part.trim().split_once('=') {
                Some(("t", value)) if moment.is_none() => moment = Some(value),
                Some(("v1", digits)) if signatures.len() < SIGNATURES_MAX => {
                    let mut signature = [0_u8; 32];
                    // One that is malformed fits nothing; another may.
                    if hex::decode_to_slice(digits, &mut signature).is_ok() {
                        signatures.push(signature);
                    }
                }
                Some(("t" | "v1", _)) | None => return Err(SignatureError::Form),
                Some(_) => {}
            }
        }
        let moment = moment.filter(|text| (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()));
        let (Some(moment), false) = (moment, signatures.is_empty()) else { return Err(SignatureError::Form) };
        let at = moment.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let distance = at.ok_or(SignatureError::Form)?.signed_duration_since(now).abs();
        if distance <= TOLERANCE { Ok(Self { moment, signatures }) } else { Err(SignatureError::Stale) }
    }

    /// Proves that one of the secrets signed these raw bytes at that moment.
    ///
    /// Several secrets are accepted while one replaces another. Every pair is tried: the time taken must not tell
    /// which of them fits.
    pub fn verify<S: AsRef<[u8]>>(&self, secrets: &[S], raw: &[u8]) -> Result<(), SignatureError> {
        let mut verified = false;
        for secret in secrets.iter().map(AsRef::as_ref).filter(|secret| !secret.is_empty()) {
            let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
            let mac = mac.chain_update(self.moment).chain_update(b".").chain_update(raw);
            for signature in &self.signatures {
                verified |= mac.clone().verify_slice(signature).is_ok();
            }
        }
        if verified { Ok(()) } else { Err(SignatureError::Forged) }
    }
}

/// Makes the header for these bytes, as a gateway does.
pub fn sign(secret: &[u8], at: DateTime<Utc>, raw: &[u8]) -> String {
    let moment = at.timestamp().to_string();
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    let mac = mac.chain_update(&moment).chain_update(b".").chain_update(raw);
    format!("t={moment},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"event_id":"evt-1"}"#;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_366_800, 0).unwrap()
    }

    fn check(text: &str, raw: &[u8]) -> Result<(), SignatureError> {
        Header::read(text, now())?.verify(&["new", "old"], raw)
    }

    #[test]
    fn the_known_vector_verifies() {
        // echo -n '1795366800.{"event_id":"evt-1"}' | openssl dgst -sha256 -hmac new
        let known = "91c9a3a92aa00a6d84b472ed766f862d4dde4900f6f4e955ae0fa3bfe47004d2";
        assert_eq!(sign(b"new", now(), BODY), format!("t=1795366800,v1={known}"));
        assert_eq!(check(&format!("t=1795366800,v1={known}"), BODY), Ok(()));
        assert_eq!(check(&format!(" v1={} , t=1795366800", known.to_uppercase()), BODY), Ok(()));
    }

    #[test]
    fn any_secret_and_any_of_several_signatures_will_do() {
        let (new, old) = (sign(b"new", now(), BODY), sign(b"old", now(), BODY));
        assert_eq!(check(&old, BODY), Ok(()));
        let other = sign(b"other", now(), BODY);
        assert_eq!(check(&other, BODY), Err(SignatureError::Forged));
        let (_, good) = new.split_once(',').unwrap();
        assert_eq!(check(&format!("{other},{good}"), BODY), Ok(()));
        assert_eq!(check(&format!("{other},v1=zz,v0=00,{good}"), BODY), Ok(()));
    }

    #[test]
    fn other_bytes_or_another_moment_are_forged() {
        let text = sign(b"new", now(), BODY);
        assert_eq!(check(&text, br#"{"event_id":"evt-2"}"#), Err(SignatureError::Forged));
        assert_eq!(check(&text.replace("t=1795366800", "t=1795366801"), BODY), Err(SignatureError::Forged));
        assert_eq!(check(&text.replace("t=1795366800", "t=01795366800"), BODY), Err(SignatureError::Forged));
        let empty: [&str; 1] = [""];
        let header = sign(b"", now(), BODY);
        assert_eq!(Header::read(&header, now()).unwrap().verify(&empty, BODY), Err(SignatureError::Forged));
    }

    #[test]
    fn five_minutes_are_tolerated_and_a_second_more_is_not() {
        for (seconds, expected) in
            [(-300, Ok(())), (300, Ok(())), (-301, Err(SignatureError::Stale)), (301, Err(SignatureError::Stale))]
        {
            assert_eq!(check(&sign(b"new", now() + TimeDelta::seconds(seconds), BODY), BODY), expected, "{seconds}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let good = sign(b"new", now(), BODY);
        let (moment, signature) = good.split_once(',').unwrap();
        let long = format!("{moment}{}", format!(",{signature}").repeat(SIGNATURES_MAX + 1));
        for text in [
            "",
            moment,
            signature,
            &format!("{moment},{moment},{signature}"),
            &format!("t=-1795366800,{signature}"),
            &format!("t=1795366800.0,{signature}"),
            &format!("t=99999999999999999999,{signature}"),
            &format!("t=999999999999999,{signature}"),
            &format!("{moment},v1={}", &signature[4..]),
            &format!("{moment};{signature}"),
            &long,
        ] {
            assert_eq!(check(text, BODY), Err(SignatureError::Form), "{text}");
        }
    }
}
