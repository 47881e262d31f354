//! The limits that hold before any JSON reader sees a payload: size, UTF-8, nesting, U+0000.
//!
//! Nesting is counted here, byte by byte and without recursion, so that 20,000 brackets cost a few nanoseconds each
//! and no stack.

use crate::{BYTES_MAX, InvalidJob, NESTING_MAX};

/// Returns the payload as text if it keeps every limit.
pub(crate) fn check(payload: &[u8]) -> Result<&str, InvalidJob> {
    if payload.len() > BYTES_MAX {
        return Err(InvalidJob::TooLarge { bytes: payload.len() });
    }
    let text = std::str::from_utf8(payload).map_err(|error| InvalidJob::NotUtf8 { at: error.valid_up_to() })?;
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut at = 0;
    while let Some(&byte) = payload.get(at) {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                if payload[at + 1..].starts_with(b"u0000") {
                    return Err(InvalidJob::Nul { place: crate::diagnosis::nul_place(text, at) });
                }
                // The escaped byte is no quote and no escape of its own.
                at += 1;
            }
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > NESTING_MAX {
                    return Err(InvalidJob::TooDeep);
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            0 => return Err(InvalidJob::Nul { place: crate::diagnosis::nul_place(text, at) }),
            _ => {}
        }
        at += 1;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_levels_pass_and_seventeen_do_not() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check(nested(NESTING_MAX).as_bytes()).is_ok());
        assert_eq!(check(nested(NESTING_MAX + 1).as_bytes()), Err(InvalidJob::TooDeep));
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        let text = format!("{{\"a\":\"{}\\\"[[[\"}}", "[".repeat(100));
        assert!(check(text.as_bytes()).is_ok());
    }

    #[test]
    fn an_escaped_backslash_before_u0000_is_text() {
        assert!(check(br#"{"a":"\\u0000"}"#).is_ok());
        assert!(check(br#"{"a":"\\\u0000"}"#).is_err());
    }
}
