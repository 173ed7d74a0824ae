//! The HTTP route of the long poll: authorization, limits, and the HTTP answer. A poll that exceeds its user's rate
//! limit waits for tokens until its timeout ends.

use std::{num::NonZeroU32, rc::Rc, sync::Arc, time::Duration};

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
use tokio::{sync::mpsc, time::Instant};

use super::{
    super::{AdmissionControl, ChatAcceptor},
    PollContext,
    kept::KeptPolls,
    request::PollRequest,
    run_poll,
    workers::{PollJob, PollResult, PollWorkers, RemotePoll},
};
use crate::{
    commands::auth::admit,
    limits::{Limit, rooms_cost},
    problem,
    worker::Node,
};

/// Maximum size of a body, in bytes: enough for 1,000 cursors, or for several commands of maximum size.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Time limit for a body, because a poll holds its slot while its body arrives.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of running polls on one worker, and of one user on one worker. A user may poll on several devices.
const MAX_RUNNING_POLLS: usize = 10_000;
const MAX_RUNNING_POLLS_PER_USER: usize = 32;
/// Maximum time for which a poll waits for tokens: 5 s less than the longest timeout, so that the rooms can be read.
const MAX_TOKEN_WAIT: Duration = Duration::from_secs(25);
const CORS_MAX_AGE_S: usize = 3600;
const TRACEPARENT: header::HeaderName = header::HeaderName::from_static("traceparent");

/// The state of the route on one worker.
struct PollRouteState {
    running: RequestSlots,
    context: Rc<PollContext>,
    workers: Arc<PollWorkers>,
}

/// Adds `POST /v1/poll`.
pub fn configure(acceptor: &Rc<ChatAcceptor>, workers: &Arc<PollWorkers>, config: &mut web::ServiceConfig) {
    let (worker, admission) = (acceptor.worker.clone(), acceptor.admission.clone());
    let kept = KeptPolls::start(worker.index, workers.clone());
    let polls = PollRouteState {
        running: RequestSlots::new(MAX_RUNNING_POLLS, MAX_RUNNING_POLLS_PER_USER),
        context: Rc::new(PollContext::new(worker, admission, kept)),
        workers: workers.clone(),
    };
    let (poll_acceptor, polls) = (acceptor.clone(), Rc::new(polls));
    let remote_polls = workers.add_worker(acceptor.worker.index);
    tokio::task::spawn_local(run_remote_polls(polls.context.clone(), remote_polls));
    let handler = move |request: HttpRequest, body: web::Payload| {
        let (acceptor, polls) = (poll_acceptor.clone(), polls.clone());
        async move {
            let answer = answer_poll(&acceptor, &polls, &request, body).await;
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
    let origins = acceptor.admission.origins.clone();
    let cors = Cors::default()
        .allowed_origin_fn(move |origin, _| origins.allows(origin.to_str().ok().or(Some(""))))
        .allowed_methods(["POST"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE, TRACEPARENT])
        .expose_headers([header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(CORS_MAX_AGE_S);
    let route = web::resource("/v1/poll").wrap(cors).route(web::post().to(handler));
    config.service(route.default_service(web::to(method_not_allowed)));
}

async fn method_not_allowed() -> HttpResponse {
    let refusal = Refusal::new(ErrorCode::BadRequest, "a poll is a POST");
    let mut response = HttpResponse::MethodNotAllowed();
    response.insert_header((header::ALLOW, "POST")).content_type(problem::CONTENT_TYPE);
    response.body(problem::document(&refusal, StatusCode::METHOD_NOT_ALLOWED))
}

/// Authorizes and parses a poll, waits for the tokens of its user's rate limit, and runs the poll on this worker or on
/// the worker that keeps the last poll of its user.
async fn answer_poll(
    acceptor: &ChatAcceptor,
    polls: &PollRouteState,
    request: &HttpRequest,
    body: web::Payload,
) -> PollResult {
    acceptor.admission.check_request(request.headers(), "this origin is not allowed to poll")?;
    let authorization = request.headers().get(header::AUTHORIZATION).ok_or(Reason::Missing)?;
    let token = super::super::accept::bearer_token(authorization.to_str().map_err(|_| Reason::Malformed)?)?;
    let identity = acceptor.worker.node.verifier.verify_or_fetch(token).await?;
    let _slot = polls.running.acquire(&identity.user, "polls")?;
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
    let (until, admission) = (Instant::now() + timeout, &acceptor.admission);
    // The rate limit is applied before anything is read from Redis for the rooms.
    wait_for_tokens(&acceptor.worker.node, &identity.user, rooms, until, admission).await?;
    let request = request?;
    let admitted = admit(&acceptor.worker, identity).await?;
    let job = Box::new(PollJob { admitted, request, trace, until });
    match polls.workers.hand_over(acceptor.worker.index, job) {
        Ok(result) => {
            result.await.unwrap_or_else(|_| Err(Refusal::unavailable("the poll was ended; poll again")))
        }
        Err(job) => run_poll(&polls.context, *job).await,
    }
}

/// Runs the polls from other workers, each until it is answered or its caller disconnects.
async fn run_remote_polls(context: Rc<PollContext>, mut polls: mpsc::Receiver<RemotePoll>) {
    while let Some(RemotePoll { job, result: mut sender }) = polls.recv().await {
        let context = context.clone();
        tokio::task::spawn_local(async move {
            tokio::select! {
                result = run_poll(&context, *job) => {
                    let _ = sender.send(result);
                }
                () = sender.closed() => {}
            }
        });
    }
}

/// Takes the tokens of a poll from its user's bucket. Waits for the tokens if they are available before `until`;
/// otherwise refuses the poll with `rate_limited`. While the node drains, refuses the poll with `unavailable`. The poll
/// joins its rooms only after this wait, so the answer includes events that happened during the wait.
async fn wait_for_tokens(
    node: &Node,
    user: &UserId,
    rooms: usize,
    until: Instant,
    admission: &AdmissionControl,
) -> Result<(), Refusal> {
    let until = until.min(Instant::now() + MAX_TOKEN_WAIT);
    let cost = NonZeroU32::MIN.saturating_add(rooms_cost(rooms));
    while let Err(retry_after_ms) = node.rate_limits.take_tokens(Limit::Polls, user, cost) {
        let allowed_at = Instant::now().checked_add(Duration::from_millis(retry_after_ms));
        let Some(allowed_at) = allowed_at.filter(|allowed_at| *allowed_at <= until) else {
            node.metrics.limited.with_label_values(&[Limit::Polls.name()]).inc();
            return Err(Limit::Polls.refusal(retry_after_ms));
        };
        tokio::select! {
            () = tokio::time::sleep_until(allowed_at) => {}
            () = admission.draining.cancelled() => admission.refuse_if_draining()?,
        }
    }
    Ok(())
}
