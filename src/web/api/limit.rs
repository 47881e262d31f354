//! How often a key may ask: a quota per key for submitting, and one for everything else (GCRA, by `governor`).
//!
//! Per process: with several webs a key may ask each so often. Memory is bounded by the keys that are in use.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use uuid::Uuid;

use super::Problem;

/// Submissions a second, and at once.
pub(super) const SUBMIT_PER_SECOND: u32 = 5_000;
/// Other requests a second, and at once.
pub(super) const OTHER_PER_SECOND: u32 = 100;
/// Keys that were not heard of are forgotten every so many requests.
const FORGET_EVERY: u32 = 10_000;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Which quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Submitting costs one XADD.
    Submit,
    /// What asks Postgres.
    Other,
}

impl Class {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        if method == Method::POST && path.ends_with("/notifications") { Self::Submit } else { Self::Other }
    }

    fn per_second(self) -> NonZeroU32 {
        let number = match self {
            Self::Submit => SUBMIT_PER_SECOND,
            Self::Other => OTHER_PER_SECOND,
        };
        NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Other => "default",
        }
    }
}

type Limiter = RateLimiter<Uuid, DashMapStateStore<Uuid>, DefaultClock, StateInformationMiddleware>;

/// The quotas of all keys.
#[derive(Debug)]
pub(super) struct Limits {
    submit: Limiter,
    other: Limiter,
    asked: AtomicU32,
}

impl Default for Limits {
    fn default() -> Self {
        let limiter = |class: Class| {
            RateLimiter::dashmap(Quota::per_second(class.per_second())).with_middleware::<StateInformationMiddleware>()
        };
        Self { submit: limiter(Class::Submit), other: limiter(Class::Other), asked: AtomicU32::new(0) }
    }
}

/// How a key stands after a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    class: Class,
    left: u32,
    /// Set: the request is refused, and may be sent again after this.
    wait: Option<Duration>,
}

impl Limits {
    /// Counts a request.
    pub(super) fn check(&self, key: Uuid, class: Class) -> Standing {
        let limiter = match class {
            Class::Submit => &self.submit,
            Class::Other => &self.other,
        };
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.submit.retain_recent();
            self.other.retain_recent();
        }
        match limiter.check_key(&key) {
            Ok(state) => Standing { class, left: state.remaining_burst_capacity(), wait: None },
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                Standing { class, left: 0, wait: Some(wait) }
            }
        }
    }
}

impl Standing {
    pub(super) fn is_refused(self) -> bool {
        self.wait.is_some()
    }

    pub(super) fn problem(self) -> Problem {
        let detail =
            format!("this key asked more than {} times in a second: wait and try again", self.class.per_second());
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).with_reason("rate_limited")
    }

    /// Writes the headers (draft-ietf-httpapi-ratelimit-headers-10) and, when refused, `Retry-After`.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let (name, quota) = (self.class.name(), self.class.per_second());
        for (header, value) in [
            (RATE_LIMIT_POLICY, format!("\"{name}\";q={quota};w=1")),
            (RATE_LIMIT, format!("\"{name}\";r={};t=1", self.left)),
        ] {
            headers.insert(header, HeaderValue::try_from(value).expect("digits and quotes fit a header"));
        }
        if let Some(wait) = self.wait {
            let seconds = wait.as_secs() + 1;
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}
