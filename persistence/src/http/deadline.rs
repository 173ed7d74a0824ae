//! Answers every request within a deadline. When PostgreSQL's host does not respond, PostgreSQL's own time limits do
//! not end the statements, and requests would accumulate without bound.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};
use tidings_shared::error::Refusal;
use tidings_shared::log::stored::STORED_TIMEOUT;

use super::problem::Problem;
use crate::writer::limit::ANSWER_DEADLINE;

/// Cancels a handler that misses the deadline, and answers `unavailable`. Wraps a single resource, because this answer
/// must pass through the middleware of the scope, such as CORS.
pub async fn with_deadline<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    // A request that changes data gets more time, because its body may be slow and it waits until the change is stored.
    let is_safe = request.method().is_safe();
    let within = if is_safe { ANSWER_DEADLINE } else { ANSWER_DEADLINE * 2 + STORED_TIMEOUT };
    let original_request = request.request().clone();
    match tokio::time::timeout(within, next.call(request)).await {
        Ok(answer) => answer.map(ServiceResponse::map_into_left_body),
        Err(_) => {
            tracing::warn!(
                route = original_request.match_pattern(),
                ?within,
                "a request was not answered in time"
            );
            let problem = Problem::from(Refusal::unavailable("no answer in time; retry"));
            Ok(ServiceResponse::new(original_request, problem.error_response()).map_into_right_body())
        }
    }
}
