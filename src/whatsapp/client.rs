//! The client: one template message out, one outcome back.
//!
//! It decides nothing: whoever calls it reads the class of the error and acts.

use std::fmt;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use rustls::RootCertStore;
use url::Url;

use super::exchange::{ClientError, Exchange, Failure, roots_of_mozilla};
use super::scalar::Scalar;
use super::{Accepted, Class, SendError, payload};

/// How to reach the Cloud API.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address before the version, `https://graph.facebook.com` for Meta's.
    pub base_url: Url,
    /// The version of the API, as in `v25.0`.
    pub version: String,
    /// The longest time for name, connection and TLS together.
    pub connect_timeout: Duration,
    /// The longest time from writing a request until its whole answer is read.
    pub read_timeout: Duration,
    /// Idle connections are closed after this time, before the server does.
    pub idle_timeout: Duration,
    /// So many idle HTTP/1.1 connections are kept per line.
    pub idle_connections_max: usize,
    /// Pools used as the load grows; over HTTP/2 each is one connection of about 100 requests at once.
    pub lines: usize,
}

impl Options {
    /// The defaults: 3 s to connect, 15 s to answer.
    pub fn new(base_url: Url, version: impl Into<String>) -> Self {
        Self {
            base_url,
            version: version.into(),
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(20),
            idle_connections_max: 512,
            lines: 8,
        }
    }
}

/// Who sends: a business phone number and its token.
#[derive(Clone, Copy)]
pub struct Sender<'a> {
    /// Meta's id of the phone number.
    pub phone_number_id: &'a str,
    /// The access token; never shown.
    pub token: &'a str,
}

impl fmt::Debug for Sender<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("phone_number_id", &self.phone_number_id).finish_non_exhaustive()
    }
}

/// One template message, ready to send.
///
/// It has no `Debug`: it carries a phone number and a patient's data.
#[derive(Clone, Copy)]
pub struct Outgoing<'a, N, V> {
    /// The recipient as E.164 with `+`; without it Meta would prepend the sender's country.
    pub to: &'a str,
    /// The template's name at Meta.
    pub template: &'a str,
    /// The template's language code at Meta.
    pub language: &'a str,
    /// The named parameters of the template's body.
    pub parameters: &'a [(N, V)],
    /// What Meta echoes in every status event, at most 512 characters.
    pub opaque: &'a str,
}

/// What Meta says about a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneNumber {
    /// Meta's id of the phone number.
    pub id: String,
    /// The number as Meta shows it; a business's, so not masked.
    pub display_phone_number: Option<String>,
    /// The name that patients see.
    pub verified_name: Option<String>,
    /// GREEN, YELLOW, RED or UNKNOWN.
    pub quality_rating: Option<String>,
}

#[derive(serde::Deserialize)]
struct PhoneNumberReply<'a> {
    #[serde(default, borrow)]
    id: Scalar<'a>,
    #[serde(default, borrow)]
    display_phone_number: Scalar<'a>,
    #[serde(default, borrow)]
    verified_name: Scalar<'a>,
    #[serde(default, borrow)]
    quality_rating: Scalar<'a>,
}

/// The Cloud API; one per process, shared by reference.
#[derive(Debug)]
pub struct Client {
    /// Base URL and version.
    root: Url,
    pub(super) exchange: Exchange,
}

impl Client {
    /// Builds the client; connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        Self::trusting(roots_of_mozilla(), options)
    }

    /// As [`new`](Self::new), with other roots.
    pub(super) fn trusting(roots: RootCertStore, options: Options) -> Result<Self, ClientError> {
        let usable = matches!(options.base_url.scheme(), "http" | "https") && options.base_url.has_host();
        let mut root = options.base_url.clone();
        match root.path_segments_mut() {
            Ok(mut path) if usable => drop(path.pop_if_empty().push(&options.version)),
            _ => return Err(ClientError::BaseUrl(options.base_url)),
        }
        root.set_query(None);
        Ok(Self { root, exchange: Exchange::new(&options, roots)? })
    }

    /// Sends one template message, once.
    ///
    /// Never sends again by itself. Dropping the future before it ends leaves the outcome unknown.
    pub async fn send<N: AsRef<str>, V: AsRef<str>>(
        &self,
        sender: &Sender<'_>,
        message: &Outgoing<'_, N, V>,
    ) -> Result<Accepted, SendError> {
        let url = self.url([sender.phone_number_id, "messages"]);
        let mut request = request(Method::POST, sender.token, &url)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.exchange.run(request, Some(payload::write(message))).await {
            Ok(answer) => answer.accepted(),
            Err(Failure::Unsent(reason)) => Err(SendError::new(Class::Unavailable, &reason)),
            Err(Failure::Unread(reason)) => Err(SendError::new(Class::Unknown, &reason)),
        }
    }

    /// Asks Meta about the sender: tells whether number and token are good. Sends nothing.
    pub async fn phone_number(&self, sender: &Sender<'_>) -> Result<PhoneNumber, SendError> {
        let mut url = self.url([sender.phone_number_id]);
        url.set_query(Some("fields=id,display_phone_number,verified_name,quality_rating"));
        let request = request(Method::GET, sender.token, &url)?;
        let answer = self.exchange.run(request, None).await.map_err(|failure| match failure {
            Failure::Unsent(reason) | Failure::Unread(reason) => SendError::new(Class::Unavailable, &reason),
        })?;
        let found: PhoneNumberReply<'_> = answer.found()?;
        Ok(PhoneNumber {
            id: found
                .id
                .text()
                .ok_or_else(|| SendError::new(Class::Unavailable, "the answer names no phone number"))?,
            display_phone_number: found.display_phone_number.text(),
            verified_name: found.verified_name.text(),
            quality_rating: found.quality_rating.text(),
        })
    }

    /// The address of the object, or its edge, that these segments name.
    pub(super) fn url<const N: usize>(&self, segments: [&str; N]) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            // Pushing encodes, so that an id with a slash stays one segment.
            path.extend(segments);
        }
        url
    }
}

/// A request in the name of whose token it is.
pub(super) fn request(method: Method, token: &str, url: &Url) -> Result<Request<()>, SendError> {
    let mut bearer = HeaderValue::try_from(["Bearer ", token].concat())
        .map_err(|_| SendError::new(Class::SenderBlocked, "the token holds characters that no header can carry"))?;
    bearer.set_sensitive(true);
    let request = Request::builder().method(method).uri(url.as_str()).header(AUTHORIZATION, bearer).body(());
    request.map_err(|error| SendError::new(Class::Unavailable, &format!("the address of the API is none: {error}")))
}
