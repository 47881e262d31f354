//! E-mail addresses as people type them: enough of RFC 5321 to refuse what could not be delivered.

/// The text is no e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no e-mail address: write it as name@domain.example")]
pub struct InvalidEmail(pub String);

/// Returns the address without blanks around it, or refuses it.
///
/// Quoted local parts and address literals are refused: nobody's finance department has one.
pub fn parse(text: &str) -> Result<String, InvalidEmail> {
    let address = text.trim();
    match address.rsplit_once('@') {
        Some((local, domain)) if address.len() <= 254 && is_local(local) && is_domain(domain) => Ok(address.to_owned()),
        _ => Err(InvalidEmail(text.to_owned())),
    }
}

fn is_local(local: &str) -> bool {
    local.len() <= 64
        && local.split('.').all(|atom| {
            !atom.is_empty() && atom.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
        })
}

fn is_domain(domain: &str) -> bool {
    domain.contains('.')
        && domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_addresses_pass() {
        for text in ["keuangan@rs-harapan.example", " a.b+c@d.co.id ", "rené@hôpital.example"] {
            assert_eq!(parse(text).unwrap(), text.trim());
        }
    }

    #[test]
    fn what_cannot_be_delivered_is_refused() {
        for text in
            ["", "a", "@b.c", "a@", "a@b", "a b@c.d", "a@b..c", "a..b@c.d", "a@-b.c", "a@b.c\nBcc: x@y.z", "a@@b.c"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
