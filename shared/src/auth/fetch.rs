//! Downloads a JWK set from its URL, by HTTPS (from this machine also by HTTP), without redirects, and with limits of
//! time and bytes.

use std::time::Duration;

use reqwest::{
    StatusCode, Url,
    header::{self, HeaderMap},
};
use rustls::ClientConfig;

use crate::{
    http_client::{self, innermost_cause},
    tls::trusted_roots,
};

/// Limit for the whole request, from connecting to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum size of the body; a larger one is an error. A JWK set of 64 keys with their certificates has about 200 KiB.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Downloads the JWK set from one URL.
pub(super) struct JwksClient {
    http: reqwest::Client,
    url: Url,
}

impl JwksClient {
    /// Creates a client for a URL. The server of the URL decides which keys may sign tokens, so a URL without TLS is
    /// refused, unless it is on this machine. The error names the problem of the URL.
    pub fn new(url: &str) -> Result<Self, &'static str> {
        let url: Url = url.parse().map_err(|_| "is not a URL")?;
        let host = url.host_str().ok_or("is not a URL with a host")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not contain a user or a password");
        }
        let this_machine = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if url.scheme() != "https" && !(url.scheme() == "http" && this_machine) {
            return Err(
                "must begin with https:// (http:// only for this machine): its server decides who may sign tokens",
            );
        }
        let builder = http_client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0)
            .user_agent("tidings");
        let tls = ClientConfig::builder().with_root_certificates(trusted_roots()).with_no_client_auth();
        let http = builder.use_preconfigured_tls(tls).build();
        Ok(Self { http: http.map_err(|_| "needs TLS, which is not available")?, url })
    }

    /// The host of the URL, for log lines. Other parts of the URL may be confidential.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Downloads the JWK set. Returns its unparsed text, and how long the answer is fresh according to `Cache-Control`
    /// and `Age`, or `None` if the answer has no `max-age`.
    pub async fn get(&self) -> Result<(Vec<u8>, Option<Duration>), String> {
        let request = self.http.get(self.url.clone()).header(header::ACCEPT, "application/json");
        let answer = request.send().await.map_err(innermost_cause)?;
        if answer.status() != StatusCode::OK {
            // Redirects are refused too, because only the configured URL is trusted.
            return Err(format!("answered {}", answer.status().as_u16()));
        }
        let fresh_for = fresh_for(answer.headers());
        Ok((http_client::read_body(answer, MAX_BODY_BYTES).await?, fresh_for))
    }
}

/// How long an answer is fresh (RFC 9111, 4.2), or `None` if the answer has no `max-age`.
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
            assert!(JwksClient::new(good).is_ok(), "{good}");
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
            assert!(JwksClient::new(bad).is_err(), "{bad}");
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
