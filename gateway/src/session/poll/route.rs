//! The HTTP route of the long poll: authorization, limits, and the HTTP answer. A poll that exceeds its user's rate
//! limit waits for tokens until its timeout ends.

use std::{num::NonZeroU32, rc::Rc, time::Duration};

use actix_cors::Cors;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use tidings_shared::{
    auth::Reason,
    error::{ErrorCode, Refusal},
    ids::UserId,
    request_slots::RequestSlots,
    telemetry::TraceContext,
};
use tokio::time::Instant;

use super::{
    super::{ChatAcceptor, Gate, admit},
    poll,
    request::PollRequest,
};
use crate::{
    limits::{Limit, rooms_cost},
    problem,
    worker::Node,
};

/// Maximum size of a body, in bytes: enough for a thousand cursors, or for some of the longest commands.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Time limit for a body, because a poll holds its slot while its body arrives.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of running polls on one worker, and of one user on one worker. A user may poll on several devices.
const MAX_POLLS: usize = 10_000;
const MAX_POLLS_OF_USER: usize = 32;
/// Maximum time for which a poll waits for tokens: 5 s less than the longest timeout, so that the rooms can be read.
const MAX_PACING_DELAY: Duration = Duration::from_secs(25);
const CORS_MAX_AGE_S: usize = 3600;
const TRACEPARENT: header::HeaderName = header::HeaderName::from_static("traceparent");

/// Adds `POST /v1/poll`.
pub fn configure(acceptor: &Rc<ChatAcceptor>, config: &mut web::ServiceConfig) {
    let (poll_acceptor, running) =
        (acceptor.clone(), Rc::new(RequestSlots::new(MAX_POLLS, MAX_POLLS_OF_USER)));
    let handler = move |request: HttpRequest, body: web::Payload| {
        let (acceptor, running) = (poll_acceptor.clone(), running.clone());
        async move {
            let answer = answer(&acceptor, &running, &request, body).await;
            let result = answer.as_ref().err().map_or("answered", |refusal| refusal.code.as_str());
            acceptor.worker.node.metrics.polls.with_label_values(&[result]).inc();
            answer.map_or_else(
                |refusal| problem::response(&refusal),
                |body| {
                    let mut response = HttpResponse::Ok();
                    // An answer is for this poll only, so it must not be cached.
                    response.insert_header((header::CACHE_CONTROL, "no-store"));
                    response.content_type("application/json").body(body)
                },
            )
        }
    };
    let origins = acceptor.gate.origins.clone();
    let cors = Cors::default()
        .allowed_origin_fn(move |origin, _| origins.allows(origin.to_str().ok().or(Some(""))))
        .allowed_methods(["POST"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE, TRACEPARENT])
        .expose_headers([header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(CORS_MAX_AGE_S);
    let route = web::resource("/v1/poll").wrap(cors).route(web::post().to(handler));
    config.service(route.default_service(web::to(wrong_method)));
}

async fn wrong_method() -> HttpResponse {
    let refusal = Refusal::new(ErrorCode::BadRequest, "a poll is a POST");
    let mut response = HttpResponse::MethodNotAllowed();
    response.insert_header((header::ALLOW, "POST")).content_type(problem::CONTENT_TYPE);
    response.body(problem::document(&refusal, StatusCode::METHOD_NOT_ALLOWED))
}

async fn answer(
    acceptor: &ChatAcceptor,
    running: &RequestSlots,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<Vec<u8>, Refusal> {
    acceptor.gate.check(request.headers(), "this origin is not allowed to poll")?;
    let authorization = request.headers().get(header::AUTHORIZATION).ok_or(Reason::Missing)?;
    let token = super::super::accept::bearer(authorization.to_str().map_err(|_| Reason::Malformed)?)?;
    let identity = acceptor.worker.node.verifier.verify_or_fetch(token).await?;
    let _slot = running.acquire(&identity.user, "polls")?;
    let body = match tokio::time::timeout(BODY_TIMEOUT, body.to_bytes_limited(MAX_BODY_BYTES)).await {
        Ok(Ok(Ok(body))) => body,
        Ok(Ok(Err(_))) => return Err(Refusal::new(ErrorCode::BadRequest, "the body cannot be read")),
        Err(_) => return Err(Refusal::new(ErrorCode::BadRequest, "the body did not come in time")),
        Ok(Err(_)) => {
            let message = format!("the body can have at most {MAX_BODY_BYTES} bytes");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
    };
    let header_value = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let trace = header_value.and_then(TraceContext::parse);
    let request = PollRequest::parse(&body);
    drop(body);
    // An invalid request also takes a token of the rate limit, but does not wait for a token.
    let (rooms, timeout) =
        request.as_ref().map_or((0, Duration::ZERO), |request| (request.cursors.len(), request.timeout));
    let (until, gate) = (Instant::now() + timeout, &acceptor.gate);
    // The rate limit is applied before anything is read from Redis for the rooms.
    pace(&acceptor.worker.node, &identity.user, rooms, until, gate).await?;
    let request = request?;
    let admitted = admit(&acceptor.worker, identity).await?;
    poll(&acceptor.worker, admitted, request, trace, until, gate).await
}

/// Takes the tokens of a poll from its user's bucket. Waits if the tokens are available before `until`; otherwise
/// refuses the poll with `rate_limited`. While the node drains, refuses the poll with `unavailable`. The poll joins its
/// rooms only after this wait, so the answer includes events that happened during the wait.
async fn pace(node: &Node, user: &UserId, rooms: usize, until: Instant, gate: &Gate) -> Result<(), Refusal> {
    let until = until.min(Instant::now() + MAX_PACING_DELAY);
    let cost = NonZeroU32::MIN.saturating_add(rooms_cost(rooms));
    while let Err(retry_after_ms) = node.rate_limits.take_tokens(Limit::Polls, user, cost) {
        let allowed_at = Instant::now().checked_add(Duration::from_millis(retry_after_ms));
        let Some(allowed_at) = allowed_at.filter(|allowed_at| *allowed_at <= until) else {
            node.metrics.limited.with_label_values(&[Limit::Polls.name()]).inc();
            return Err(Limit::Polls.refusal(retry_after_ms));
        };
        tokio::select! {
            () = tokio::time::sleep_until(allowed_at) => {}
            () = gate.draining.cancelled() => gate.refuse_if_draining()?,
        }
    }
    Ok(())
}
