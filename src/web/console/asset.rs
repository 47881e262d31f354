//! Style and script of the console, within the binary, under names that change with their content.
//!
//! A browser keeps them for a year; a new version has a new name. They travel compressed, packed once per process.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::web::Problem;

/// One file.
struct Asset {
    /// The name in templates.
    key: &'static str,
    /// The name in addresses.
    name: String,
    kind: &'static str,
    plain: Bytes,
    packed: Bytes,
}

macro_rules! asset {
    ($key:literal, $file:literal, $kind:literal) => {
        Asset::new($key, $file, $kind, include_bytes!(concat!("../../../templates/console/asset/", $file)))
    };
}

static ASSETS: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    [
        asset!("base", "pico.classless.min.css", "text/css; charset=utf-8"),
        asset!("style", "console.css", "text/css; charset=utf-8"),
        asset!("htmx", "htmx.min.js", "text/javascript; charset=utf-8"),
        asset!("sse", "sse.js", "text/javascript; charset=utf-8"),
        asset!("icon", "icon.svg", "image/svg+xml"),
    ]
});

impl Asset {
    fn new(key: &'static str, file: &str, kind: &'static str, plain: &'static [u8]) -> Self {
        let digest = hex::encode(&Sha256::digest(plain)[..6]);
        let (stem, ending) = file.rsplit_once('.').unwrap_or((file, ""));
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        let packed = packer.write_all(plain).and_then(|()| packer.finish()).expect("a vector takes what is written");
        Self {
            key,
            name: format!("{stem}.{digest}.{ending}"),
            kind,
            plain: Bytes::from_static(plain),
            packed: packed.into(),
        }
    }
}

/// The addresses of all assets by their keys, for templates.
pub(super) fn addresses() -> impl Iterator<Item = (&'static str, String)> {
    ASSETS.iter().map(|asset| (asset.key, format!("/asset/{}", asset.name)))
}

/// Serves one file.
pub(super) async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address").into_response();
    };
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let packs = accepted.split(',').any(|coding| coding.trim().split(';').next() == Some("gzip"));
    let body = if packs { asset.packed.clone() } else { asset.plain.clone() };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if packs {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_first_page_needs_is_small() {
        let packed: usize = ASSETS.iter().map(|asset| asset.packed.len()).sum();
        assert!(packed < 60_000, "{packed} bytes");
        assert!(ASSETS.iter().all(|asset| asset.name.len() > asset.key.len() + 12));
    }
}
