//! Gets a JWK set from its URL: HTTPS, no redirect, bounded in time and bytes. Touches nothing but the network.
//!
//! Not by `reqwest`: with TLS built in, it would ask each program and test that makes any HTTP client to choose a
//! provider of cryptography first. What it stands on is used directly.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{HeaderMap, Request, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::crypto::aws_lc_rs;

/// From the first packet to the last byte.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A set of 64 keys with their certificates has some 200 KiB.
const MAX_BYTES: usize = 1024 * 1024;

/// A JWK set as it came.
pub(super) struct Fetched {
    pub body: Bytes,
    /// What `Cache-Control` and `Age` leave.
    pub fresh_for: Option<Duration>,
}

/// See the module.
pub(super) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Uri,
}

impl Client {
    /// For a URL that may be trusted: whoever answers there decides who may sign.
    pub fn new(url: &str) -> Result<Self, &'static str> {
        let url: Uri = url.parse().map_err(|_| "is no URL")?;
        let host = url.host().ok_or("is no URL with a host")?;
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must hold no user or password");
        }
        let this_machine = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if url.scheme_str() != Some("https") && !(url.scheme_str() == Some("http") && this_machine) {
            return Err(
                "must begin with https:// (http:// only for this machine): who answers there decides who may sign",
            );
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        // The roots of the system, so that a company's own count; a system without any has the usual ones.
        let provider = aws_lc_rs::default_provider;
        let native = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider());
        let builder = native.or_else(|error| {
            tracing::debug!(%error, "the system has no certificates");
            HttpsConnectorBuilder::new().with_provider_and_webpki_roots(provider())
        });
        let builder = builder.map_err(|_| "needs TLS, which is not to be had")?;
        let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { http, url })
    }

    /// The host, to be told in logs: the rest of a URL may be nobody's business.
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }

    pub async fn get(&self) -> Result<Fetched, String> {
        tokio::time::timeout(TIMEOUT, self.answer())
            .await
            .unwrap_or_else(|_| Err(format!("no whole answer within {} s", TIMEOUT.as_secs())))
    }

    async fn answer(&self) -> Result<Fetched, String> {
        let request = Request::get(self.url.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "tidings")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let answer = self.http.request(request).await.map_err(|error| cause(&error))?;
        if answer.status() != StatusCode::OK {
            // A redirect too: the configured URL is the one that is trusted.
            return Err(format!("answered {}", answer.status().as_u16()));
        }
        let fresh_for = fresh_for(answer.headers());
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body =
            body.map_err(|error| format!("the answer is cut off or over {MAX_BYTES} bytes: {error}"))?;
        Ok(Fetched { body: body.to_bytes(), fresh_for })
    }
}

/// The innermost cause: the outer ones say that a client had an error.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// How long an answer may be kept (RFC 9111, 4.2), as far as it says so.
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let directives = text(header::CACHE_CONTROL)?.split(',').map(str::trim);
    let mut fresh = None;
    for directive in directives {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        if name.eq_ignore_ascii_case("max-age") {
            fresh = value.trim_matches('"').parse().ok().map(Duration::from_secs);
        }
    }
    let age = text(header::AGE).and_then(|age| age.parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    fresh.map(|fresh| fresh.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_nobody_on_the_way_can_answer_for_are_taken() {
        for good in [
            "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
            "http://127.0.0.1:9/jwks",
            "http://localhost/jwks",
            "http://[::1]:9/",
        ] {
            assert!(Client::new(good).is_ok(), "{good}");
        }
        for bad in [
            "http://issuer.example/jwks",
            "http://localhost.evil.test/",
            "ftp://issuer.example/",
            "file:///etc/passwd",
            "https://user:word@issuer.example/",
            "/jwks",
            "",
            "https://",
        ] {
            assert!(Client::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_says_how_long_it_may_be_kept() {
        let told = |control: &str, age: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, control.parse().unwrap());
            headers.insert(header::AGE, age.parse().unwrap());
            fresh_for(&headers).map(|time| time.as_secs())
        };
        assert_eq!(told("public, max-age=21600, must-revalidate, no-transform", "600"), Some(21_000));
        assert_eq!(told("Max-Age=60", "90"), Some(0));
        assert_eq!(told("max-age=60, no-cache", "0"), Some(0));
        assert_eq!(told("no-store", "x"), Some(0));
        assert_eq!(told("public", "5"), None);
        assert_eq!(told("max-age=-1", "5"), None);
        assert_eq!(fresh_for(&HeaderMap::new()), None);
    }
}
