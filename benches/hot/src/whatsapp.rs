//! What is pure of the Cloud API: reading an answer and classifying it, and checking a signature.

#[expect(dead_code, reason = "the service uses more of it")]
#[path = "../../../src/whatsapp/answer.rs"]
mod answer;
#[expect(dead_code, reason = "the service uses more of it")]
#[path = "../../../src/whatsapp/class.rs"]
mod class;
#[expect(dead_code, reason = "the service uses more of it")]
#[path = "../../../src/whatsapp/error.rs"]
mod error;
#[path = "../../../src/whatsapp/mask.rs"]
mod mask;
#[path = "../../../src/whatsapp/scalar.rs"]
mod scalar;
#[expect(dead_code, reason = "the service uses more of it")]
#[path = "../../../src/whatsapp/signature.rs"]
mod signature;

pub(crate) use answer::read_answer;
pub(crate) use signature::verify_signature;

use class::{Class, Part};
use error::SendError;
