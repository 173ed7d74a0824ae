//! Downloads a JWK set from its URL: HTTPS, no redirects, bounded in time and bytes. Touches only the network.
//!
//! It uses `hyper` directly, not `reqwest`: with TLS compiled in, `reqwest` would require every program and test that
//! creates an HTTP client to choose a cryptography provider first.

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

/// For the whole request, from connecting to the last byte.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A set of 64 keys with their certificates has about 200 KiB.
const MAX_BYTES: usize = 1024 * 1024;

/// A downloaded JWK set, not parsed yet.
pub(super) struct Fetched {
    pub body: Bytes,
    /// Remaining freshness by `Cache-Control` and `Age`; `None`: the answer does not say.
    pub fresh_for: Option<Duration>,
}

pub(super) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Uri,
}

impl Client {
    /// Refuses a URL that cannot be trusted: the server behind it decides which keys may sign tokens.
    pub fn new(url: &str) -> Result<Self, &'static str> {
        let url: Uri = url.parse().map_err(|_| "is not a URL")?;
        let host = url.host().ok_or("is not a URL with a host")?;
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must not contain a user or a password");
        }
        let this_machine = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if url.scheme_str() != Some("https") && !(url.scheme_str() == Some("http") && this_machine) {
            return Err(
                "must begin with https:// (http:// only for this machine): its server decides who may sign tokens",
            );
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        // The system's root certificates include those of a company; a system without any gets the public ones.
        let provider = aws_lc_rs::default_provider;
        let native = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider());
        let builder = native.or_else(|error| {
            tracing::debug!(%error, "the system has no root certificates; using the built-in ones");
            HttpsConnectorBuilder::new().with_provider_and_webpki_roots(provider())
        });
        let builder = builder.map_err(|_| "needs TLS, which is not available")?;
        let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { http, url })
    }

    /// The host, for log lines: the rest of the URL may be confidential.
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }

    pub async fn get(&self) -> Result<Fetched, String> {
        tokio::time::timeout(TIMEOUT, self.answer())
            .await
            .unwrap_or_else(|_| Err(format!("no complete answer within {} s", TIMEOUT.as_secs())))
    }

    async fn answer(&self) -> Result<Fetched, String> {
        let request = Request::get(self.url.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "tidings")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let answer = self.http.request(request).await.map_err(|error| cause(&error))?;
        if answer.status() != StatusCode::OK {
            // Redirects are refused too, because only the configured URL is trusted.
            return Err(format!("answered {}", answer.status().as_u16()));
        }
        let fresh_for = fresh_for(answer.headers());
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body =
            body.map_err(|error| format!("the answer is truncated or over {MAX_BYTES} bytes: {error}"))?;
        Ok(Fetched { body: body.to_bytes(), fresh_for })
    }
}

/// The innermost cause: the outer errors only say that the client failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// How long an answer may be kept (RFC 9111, 4.2); `None`: it does not say.
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
    fn only_https_and_local_urls_are_accepted() {
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
    fn freshness_is_max_age_minus_age() {
        let fresh_s = |control: &str, age: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, control.parse().unwrap());
            headers.insert(header::AGE, age.parse().unwrap());
            fresh_for(&headers).map(|time| time.as_secs())
        };
        assert_eq!(fresh_s("public, max-age=21600, must-revalidate, no-transform", "600"), Some(21_000));
        assert_eq!(fresh_s("Max-Age=60", "90"), Some(0));
        assert_eq!(fresh_s("max-age=60, no-cache", "0"), Some(0));
        assert_eq!(fresh_s("no-store", "x"), Some(0));
        assert_eq!(fresh_s("public", "5"), None);
        assert_eq!(fresh_s("max-age=-1", "5"), None);
        assert_eq!(fresh_for(&HeaderMap::new()), None);
    }
}
