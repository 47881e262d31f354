//! Signatures of ID tokens, verified by ring: the cryptography that TLS runs on anyway.
//!
//! jsonwebtoken's own back ends would bring a second one, and with it an RSA that has an open advisory
//! (RUSTSEC-2023-0071). Nothing here can sign, and a secret both sides know (`HS256`) or none (`none`) verifies nothing.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    self as signed, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// Makes jsonwebtoken use what is here; once or more often.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        verifier_factory: |algorithm, key| verifier(*algorithm, key),
        key_utils: KeyUtils::new_unimplemented(),
    };
    // An error says that it was installed before: it is the only one.
    let _ = PROVIDER.install_default();
}

/// How signatures of an algorithm are verified.
#[derive(Clone, Copy)]
enum Way {
    Rsa(&'static RsaParameters),
    Curve(&'static EcdsaVerificationAlgorithm),
}

/// The ways of the algorithms that are taken, and no others.
fn way(algorithm: Algorithm) -> Option<Way> {
    Some(match algorithm {
        Algorithm::RS256 => Way::Rsa(&signed::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Way::Rsa(&signed::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Way::Rsa(&signed::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Way::Rsa(&signed::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Way::Rsa(&signed::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Way::Rsa(&signed::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Way::Curve(&signed::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Way::Curve(&signed::ECDSA_P384_SHA384_FIXED),
        _ => return None,
    })
}

/// Whether signatures of this algorithm can be verified.
pub(super) fn is_taken(algorithm: Algorithm) -> bool {
    way(algorithm).is_some()
}

struct Checker {
    algorithm: Algorithm,
    way: Way,
    key: DecodingKey,
}

fn verifier(algorithm: Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let way = way(algorithm).ok_or(ErrorKind::UnsupportedAlgorithm)?;
    Ok(Box::new(Checker { algorithm, way, key: key.clone() }))
}

impl JwtVerifier for Checker {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Checker {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match (self.way, self.key.kind()) {
            (Way::Rsa(way), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = RsaPublicKeyComponents { n: without_zeros(n), e: without_zeros(e) };
                key.verify(way, message, signature)
            }
            (Way::Curve(way), DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(way, point).verify(message, signature)
            }
            _ => return Err(Error::new()),
        };
        verified.map_err(|_| Error::new())
    }
}

/// Some providers write a number with a zero before it, which ring does not read.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
