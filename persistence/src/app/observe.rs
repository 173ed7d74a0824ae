//! Counts public requests by route and status, and how long they take. Routes, never paths: a path names rooms.
//! While the service drains, each answer says that its connection ends: the next request goes elsewhere.

use std::time::Instant;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::ConnectionType,
    middleware::Next,
};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Label of requests that no route takes.
const NO_ROUTE: &str = "none";

pub async fn observe<B: MessageBody>(
    metrics: Metrics,
    draining: CancellationToken,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let begun = Instant::now();
    let route = request.match_pattern().unwrap_or_else(|| NO_ROUTE.to_owned());
    let mut answer = next.call(request).await;
    if let Ok(response) = &mut answer
        && draining.is_cancelled()
    {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let status = match &answer {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    metrics.http_requests.with_label_values(&[route.as_str(), status.as_str()]).inc();
    metrics.http_seconds.with_label_values(&[route.as_str()]).observe(begun.elapsed().as_secs_f64());
    answer
}
