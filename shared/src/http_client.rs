//! The HTTP client of the services. It fetches token keys, calls internal listeners and health checks, and passes
//! requests on to other gateways. Each use sets its own timeouts and trusted certificate authorities.

use reqwest::{ClientBuilder, Error, Response, redirect::Policy};

/// Returns a builder of clients without proxies and redirects, because only the configured address is trusted. The
/// clients trust no certificate unless the caller adds authorities.
pub fn builder() -> ClientBuilder {
    // reqwest needs a cryptography provider even if all addresses use plain HTTP.
    crate::tls::install_provider();
    reqwest::Client::builder().no_proxy().redirect(Policy::none())
}

/// Reads the body of an answer. Fails if it has more than `max_bytes`.
pub async fn read_body(mut answer: Response, max_bytes: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(innermost_cause)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(format!("the answer is over {max_bytes} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns the innermost cause of an error. The outer causes say only that the client failed, and contain the URL,
/// which may be confidential.
pub fn innermost_cause(error: Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
