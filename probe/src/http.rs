//! Requests of the probe over HTTP, on connections of their own.

use std::{net::SocketAddr, sync::Arc};

use reqwest::Method;
use rustls::ClientConfig;
use serde_json::Value;
use tidings_shared::{
    error::ErrorCode,
    http_client::{self, innermost_cause, read_body},
};

use crate::{
    endpoint::Endpoint,
    step::{BROKEN, CERTIFICATE, PROTOCOL, REFUSED, StepFailure},
};

/// Maximum size of a body. A page with one message is smaller.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// A client of one round.
pub struct Http<'a> {
    client: reqwest::Client,
    endpoint: &'a Endpoint,
    token: String,
}

impl<'a> Http<'a> {
    /// A client that connects to these addresses.
    pub fn new(
        endpoint: &'a Endpoint,
        addresses: &[SocketAddr],
        config: &Arc<ClientConfig>,
        token: &str,
    ) -> Result<Self, StepFailure> {
        let client = http_client::builder()
            .use_preconfigured_tls(ClientConfig::clone(config))
            .resolve_to_addrs(&endpoint.host, addresses)
            .user_agent("tidings-probe")
            .build()
            .map_err(|error| StepFailure::new(PROTOCOL, innermost_cause(error)))?;
        Ok(Self { client, endpoint, token: token.to_owned() })
    }

    /// Sends a request, and returns the JSON of its answer. Fails if the status is not 2xx.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, StepFailure> {
        let mut request = self.client.request(method, self.endpoint.url_of(path)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        let body = read_body(answer, MAX_ANSWER_BYTES).await;
        let body = body.map_err(|why| StepFailure::new(BROKEN, why))?;
        if !status.is_success() {
            return Err(refusal(status.as_u16(), &body));
        }
        serde_json::from_slice(&body)
            .map_err(|error| StepFailure::new(PROTOCOL, format!("the answer is not JSON: {error}")))
    }
}

/// The failure of an answer with an error status. Its code is that of the problem document. An answer without a problem
/// document comes from a proxy; its status is mapped to an error code of the protocol.
pub fn refusal(status: u16, body: &[u8]) -> StepFailure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let of_status = || match status {
        502..=504 => ErrorCode::Unavailable.as_str(),
        _ => ErrorCode::ALL.into_iter().find(|code| code.status() == status).map_or("", ErrorCode::as_str),
    };
    let code = problem["code"].as_str().unwrap_or_else(of_status);
    let detail = problem["detail"].as_str().unwrap_or_default();
    StepFailure::answered(code, format!("answered {status} {detail}"))
}

fn no_answer(error: reqwest::Error) -> StepFailure {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    let mut code = BROKEN;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            code = REFUSED;
        }
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref::<rustls::Error>() {
            code = CERTIFICATE;
        }
        cause = error.source();
    }
    StepFailure::new(code, innermost_cause(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_has_code_of_problem_or_of_status() {
        assert_eq!(refusal(503, br#"{"code":"overloaded","detail":"later"}"#).code, "overloaded");
        assert_eq!(refusal(503, b"<html>").code, "unavailable");
        assert_eq!(refusal(418, b"").code, PROTOCOL);
    }
}
