//! Counts public requests by route and status, and measures their time by route. The labels are routes instead of
//! paths, because a path contains room ids. While the service drains, each answer closes its connection, and the client
//! sends its next request to another node.

use std::time::Instant;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{ConnectionType, Method},
    middleware::Next,
};
use tidings_shared::telemetry::{self, SpanKind, TraceContext, in_trace};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Label of requests that match no route.
const NO_ROUTE_LABEL: &str = "none";

/// The metric label of a method. Unknown methods share one label, because a client can send any word as a method.
fn method_label(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS => method.as_str(),
        _ => "OTHER",
    }
}

/// The middleware of all public requests: counts and times the request, records its span, and calls `next`.
pub async fn observe<B: MessageBody>(
    metrics: Metrics,
    draining: CancellationToken,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let begun = Instant::now();
    let route = request.match_pattern().unwrap_or_else(|| NO_ROUTE_LABEL.to_owned());
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let mut span =
        telemetry::begin_trace("request", SpanKind::Server, traceparent.and_then(TraceContext::parse));
    if let Some(span) = &mut span {
        span.rename(format!("{} {route}", method_label(request.method())));
    }
    let mut answer = match &span {
        None => next.call(request).await,
        Some(span) => in_trace(span.context(), Box::pin(next.call(request))).await,
    };
    if let Ok(response) = &mut answer
        && draining.is_cancelled()
    {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let status = match &answer {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    if let Some(span) = &mut span {
        span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.record_refusal("server_error", true);
        }
    }
    metrics.http_requests.with_label_values(&[route.as_str(), status.as_str()]).inc();
    metrics.http_seconds.with_label_values(&[route.as_str()]).observe(begun.elapsed().as_secs_f64());
    answer
}
