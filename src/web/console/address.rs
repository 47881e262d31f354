//! The address that a request came from, past the proxy that stands before the web.
//!
//! A peer with a private address is such a proxy: what it appended to `X-Forwarded-For` counts, the last entry, for all
//! before it is what a client wrote. A peer with a public address is the client.

use std::net::{IpAddr, SocketAddr};

use axum::http::request::Parts;

/// The other end of a connection, put on every request of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct Peer(pub(in crate::web) SocketAddr);

/// The client's address, or a word for none (a test without a socket).
pub(super) fn of(parts: &Parts) -> String {
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    let told = parts.headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let told = told.and_then(|told| told.rsplit(',').next()).and_then(|last| last.trim().parse::<IpAddr>().ok());
    let client = match (peer, told) {
        (Some(peer), Some(told)) if is_private(peer) => Some(told.to_canonical()),
        (peer, _) => peer,
    };
    client.map_or_else(|| "nowhere".to_owned(), shown)
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Of IPv6 the network of one customer (/64), who has more addresses in it than there are passwords.
fn shown(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let mut request = Request::get("/").extension(Peer(SocketAddr::new(peer.parse().unwrap(), 1)));
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_proxys_word_counts_and_a_clients_does_not() {
        assert_eq!(seen("10.0.0.1", &["6.6.6.6, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(seen("::ffff:10.0.0.1", &["6.6.6.6", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(seen("203.0.113.9", &["6.6.6.6"]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(seen("2001:db8:1:2:3:4:5:6", &[]), "2001:db8:1:2::/64");
    }
}
