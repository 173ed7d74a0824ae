//! The route of the long poll: who may ask, how much, and the answer as HTTP.

use std::{rc::Rc, time::Duration};

use actix_cors::Cors;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use tidings_shared::{
    auth::Reason,
    error::{ErrorCode, RETRY_AFTER_MS, Refusal},
    places::Places,
    telemetry::TraceContext,
};
use tokio::time::Instant;

use super::{
    super::{ChatAcceptor, admit},
    pace::pace,
    poll,
    request::PollRequest,
};
use crate::problem;

/// The longest body: a thousand cursors, or some of the longest commands.
const BODY_BYTES: usize = 256 * 1024;
/// A body that takes longer holds a place for nothing.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Polls that one worker has under way, at most; and those of one person, who has one on each device.
const MAX_POLLS: usize = 10_000;
const MAX_POLLS_OF_USER: usize = 32;
/// How long a browser may remember what CORS allows, in seconds.
const CORS_MAX_AGE_S: usize = 3600;
const TRACEPARENT: header::HeaderName = header::HeaderName::from_static("traceparent");

/// Adds `POST /v1/poll`.
pub fn configure(acceptor: &Rc<ChatAcceptor>, config: &mut web::ServiceConfig) {
    let (polling, under_way) = (acceptor.clone(), Rc::new(Places::new(MAX_POLLS, MAX_POLLS_OF_USER)));
    let handler = move |request: HttpRequest, body: web::Payload| {
        let (acceptor, under_way) = (polling.clone(), under_way.clone());
        async move {
            let answer = answer(&acceptor, &under_way, &request, body).await;
            let result = answer.as_ref().err().map_or("answered", |refusal| refusal.code.as_str());
            acceptor.worker.node.metrics.polls.with_label_values(&[result]).inc();
            answer.map_or_else(
                |refusal| refused(&refusal),
                |body| {
                    let mut response = HttpResponse::Ok();
                    // An answer is for this poll alone.
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
    response.insert_header((header::ALLOW, "POST")).content_type("application/problem+json");
    response.body(problem::document_with(&refusal, StatusCode::METHOD_NOT_ALLOWED))
}

async fn answer(
    acceptor: &ChatAcceptor,
    under_way: &Places,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<Vec<u8>, Refusal> {
    acceptor.gate.check_open()?;
    let mut origins = request.headers().get_all(header::ORIGIN);
    let origin = origins.next().map(|origin| origin.to_str().unwrap_or("unreadable"));
    if !acceptor.gate.origins.allows(origin) || origins.next().is_some() {
        return Err(Refusal::new(ErrorCode::Forbidden, "this origin is not allowed to poll"));
    }
    let authorization = request.headers().get(header::AUTHORIZATION).ok_or(Reason::Missing)?;
    let token = super::super::accept::bearer(authorization.to_str().map_err(|_| Reason::Malformed)?)?;
    let identity = acceptor.worker.node.verifier.settle(token).await?;
    let _place = under_way.take(&identity.user, "polls")?;
    let body = match tokio::time::timeout(BODY_WITHIN, body.to_bytes_limited(BODY_BYTES)).await {
        Ok(Ok(Ok(body))) => body,
        Ok(Ok(Err(_))) => return Err(Refusal::new(ErrorCode::BadRequest, "the body cannot be read")),
        Err(_) => return Err(Refusal::new(ErrorCode::BadRequest, "the body did not come in time")),
        Ok(Err(_)) => {
            let message = format!("the body must not be over {BODY_BYTES} bytes");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
    };
    let came = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let trace = came.and_then(TraceContext::parse);
    let request = PollRequest::parse(&body);
    drop(body);
    // What cannot be read counts too, and has nothing to wait for.
    let (rooms, timeout) =
        request.as_ref().map_or((0, Duration::ZERO), |request| (request.cursors.len(), request.timeout));
    let (until, gate) = (Instant::now() + timeout, &acceptor.gate);
    // Before anything is asked of Redis for them.
    pace(&acceptor.worker.node, &identity.user, rooms, until, gate).await?;
    let request = request?;
    let admitted = admit(&acceptor.worker, identity).await?;
    poll(&acceptor.worker, admitted, request, trace, until, gate).await
}

fn refused(refusal: &Refusal) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    match refusal.code {
        ErrorCode::Unauthorized => {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        ErrorCode::Unavailable | ErrorCode::Overloaded | ErrorCode::RateLimited => {
            let seconds = refusal.retry_after_ms.unwrap_or(RETRY_AFTER_MS).div_ceil(1000);
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        _ => {}
    }
    response.content_type("application/problem+json").body(problem::document(refusal))
}
