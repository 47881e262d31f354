//! Webhooks: what others report to us, proven genuine, stored, then answered.
//!
//! What Meta reports is read afterwards by workers: a slow or strange body never holds up who reports. A payment is
//! judged before it is answered, since the answer is the verdict.

mod payment;
mod stored;
mod whatsapp;

use axum::Router;

use super::State;

pub(super) use stored::Stored;

/// The routes of webhooks.
pub(super) fn router() -> Router<State> {
    whatsapp::router().merge(payment::router())
}
