//! Whoever asks is answered in time, also when PostgreSQL's host is silent: then its own limits on statements do not end
//! them, and requests would gather without end.

use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};
use tidings_shared::error::Refusal;
use tidings_shared::log::stored::STORED_TIMEOUT;

use super::problem::Problem;
use crate::writer::limit;

/// Whatever reads: longer than the pool and a statement may take.
const READING: Duration = limit::ANSWER;

/// Answers `unavailable` when the handler does not answer in time; what it was doing is cut off, as it is for those who
/// hang up. Wraps a resource, so that the answer passes through all that wraps its scope.
pub async fn in_time<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    // What changes something has a body that may come slowly, and waits until it is stored.
    let within = if request.method().is_safe() { READING } else { READING * 2 + STORED_TIMEOUT };
    let asked = request.request().clone();
    match tokio::time::timeout(within, next.call(request)).await {
        Ok(answer) => answer.map(ServiceResponse::map_into_left_body),
        Err(_) => {
            tracing::warn!(route = asked.match_pattern(), ?within, "a request was not answered in time");
            let problem = Problem::from(Refusal::unavailable("there was no answer in time; try again"));
            Ok(ServiceResponse::new(asked, problem.error_response()).map_into_right_body())
        }
    }
}
