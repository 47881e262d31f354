//! The data that Meta echoes with every status event of a message.
//!
//! It is what recognises an attempt whose answer was lost, so its form carries a version:
//! events of messages sent before a deploy arrive up to a month later.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Names notification and attempt in `biz_opaque_callback_data`.
///
/// Written as `k1:<tenant>:<notification>:<attempt>`; the tenant leads to the row without a search;, far below Meta's 512 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opaque {
    /// The tenant that sends.
    pub tenant: Uuid,
    /// The notification.
    pub notification: Uuid,
    /// The number of its attempt, from 1.
    pub attempt: i32,
}

/// Says that opaque data was not written by this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("opaque data is not of the form k1:<tenant>:<notification>:<attempt>")]
pub struct NotOurs;

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k1:{}:{}:{}", self.tenant, self.notification, self.attempt)
    }
}

impl FromStr for Opaque {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let (tenant, rest) = text.strip_prefix("k1:").and_then(|rest| rest.split_once(':')).ok_or(NotOurs)?;
        let (notification, attempt) = rest.split_once(':').ok_or(NotOurs)?;
        if !attempt.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotOurs);
        }
        Ok(Self {
            tenant: Uuid::try_parse(tenant).map_err(|_| NotOurs)?,
            notification: Uuid::try_parse(notification).map_err(|_| NotOurs)?,
            attempt: attempt.parse().map_err(|_| NotOurs)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sent_is_recognised(tenant in any::<u128>(), id in any::<u128>(), attempt in 0..=i32::MAX) {
            let opaque = Opaque { tenant: Uuid::from_u128(tenant), notification: Uuid::from_u128(id), attempt };
            prop_assert_eq!(opaque.to_string().parse(), Ok(opaque));
            prop_assert!(opaque.to_string().len() <= 512);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*") {
            let _ = text.parse::<Opaque>();
        }
    }

    #[test]
    fn the_data_of_others_is_not_ours() {
        let id = Uuid::nil();
        for text in [
            "",
            "k1",
            "k1:",
            "k1::1",
            &format!("k1:{id}:1"),
            "order-17",
            &format!("k2:{id}:{id}:1"),
            &format!("k1:{id}:{id}:"),
            &format!("k1:{id}:{id}:-1"),
            &format!("k1:{id}:{id}:+1"),
            &format!("k1:{id}:{id}:2147483648"),
            &format!("k1:{id}:{id}:1:2"),
        ] {
            assert_eq!(text.parse::<Opaque>(), Err(NotOurs), "{text}");
        }
    }
}
