//! The HTTP client of the services, for token keys, the internal listeners and health checks. Each caller sets its own
//! timeouts and trusted authorities.

use reqwest::{ClientBuilder, Error, Response, redirect::Policy};

/// A client without proxies and redirects, because only the configured address is trusted. Without further settings the
/// client trusts no certificate.
pub(crate) fn builder() -> ClientBuilder {
    // reqwest needs a cryptography provider even if all addresses use plain HTTP.
    crate::tls::prepare();
    reqwest::Client::builder().no_proxy().redirect(Policy::none())
}

/// Reads the body of an answer, of at most `max_bytes`.
pub(crate) async fn body(mut answer: Response, max_bytes: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(cause)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(format!("the answer is over {max_bytes} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause: the outer errors only say that the client failed, and name the URL, which may be confidential.
pub(crate) fn cause(error: Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
