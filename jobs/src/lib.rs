//! The producer contract of KMSNotif.
pub(crate) mod amount;
mod kind;
pub use kind::*;
