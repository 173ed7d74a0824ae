//! The listener for gateways: answers requests about epochs, seeds, look-ups, memberships and accounts. Requests are
//! JSON by POST with the shared secret. The port must never be public. Bodies are bounded; refusals are problem
//! documents.

mod people;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{
    App, HttpRequest, HttpServer, Route,
    dev::Server,
    web::{Bytes, Data, Json, Payload, PayloadConfig, post, scope, to},
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use sea_orm::DatabaseConnection;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::Epoch,
    internal::{
        CONNECT_USER, LOOK_UP, LookUpAnswer, LookUpRequest, MARKS, MAX_ROOMS, MAX_USERS, MarksAnswer,
        MarksRequest, OPEN_EPOCH, OpenEpochAnswer, OpenEpochRequest, ROOMS, SECRET_HEADER, SEED, SeedAnswer,
        SeedRequest, TARGET, TargetAnswer, TargetRequest,
        people::{ACCOUNTS, ROLES},
        presence::{ACQUAINTED, MEMBERS, SMALL_ROOMS},
    },
    log::{Authority, AuthorityError, Log},
};

use crate::http::{KEEP_ALIVE, REQUEST_TIMEOUT, body, problem::Problem};
use crate::writer::users::UnknownUserPolicy;

/// Longest request body, in bytes: [`MAX_ROOMS`] room ids of 64 characters with their quotes, and the other fields.
const BODY_BYTES: usize = 96 * 1024;
/// How long a body may take to arrive. Gateways send a body at once, and wait 4 s for the answer.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(3500);
const WORKERS: usize = 2;
const SHUTDOWN_S: u64 = 5;

/// The state that the handlers for gateways share.
pub struct InternalState {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    pub authority: Arc<dyn Authority>,
    pub unknown_users: UnknownUserPolicy,
    /// The secret with which gateways authenticate.
    pub secret: SecretString,
}

impl InternalState {
    /// Checks the shared secret, then reads the request.
    async fn read<T: DeserializeOwned>(&self, request: &HttpRequest, body: Payload) -> Result<T, Problem> {
        let given = request.headers().get(SECRET_HEADER).map_or(&b""[..], |value| value.as_bytes());
        if !is_secret(&self.secret, given) {
            return Err(Problem::new(ErrorCode::Unauthorized, "the shared secret is missing or wrong"));
        }
        let body = body::bytes(body, BODY_BYTES, BODY_TIMEOUT).await?;
        // The parser's message is dropped, because it quotes its input and gateways log refusals.
        serde_json::from_slice(&body)
            .map_err(|_| Problem::new(ErrorCode::BadRequest, "the body is not a valid request"))
    }
}

/// Whether `given` is the shared secret. The comparison takes constant time.
fn is_secret(secret: &SecretString, given: &[u8]) -> bool {
    verify_slices_are_equal(secret.expose_secret().as_bytes(), given).is_ok()
}

/// A route that reads a request, passes it to `answer`, and answers within `ANSWER_TIMEOUT`.
fn route<T, A, F>(answer: impl Fn(Data<InternalState>, T) -> F + Copy + 'static) -> Route
where
    T: DeserializeOwned + 'static,
    A: Serialize + 'static,
    F: Future<Output = Result<A, Problem>> + 'static,
{
    post().to(move |state: Data<InternalState>, request: HttpRequest, body: Payload| async move {
        let parsed = state.read(&request, body).await?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer(state, parsed)).await {
            Ok(answered) => answered.map(Json),
            Err(_) => Err(Refusal::unavailable("no answer in time; retry").into()),
        }
    })
}

/// Builds the server for gateways on a bound listener. The caller runs the server.
pub fn serve(listener: TcpListener, state: Data<InternalState>) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(PayloadConfig::new(BODY_BYTES))
            .service(
                scope("")
                    .route(OPEN_EPOCH, route(open_epoch))
                    .route(SEED, route(seed))
                    .route(LOOK_UP, route(look_up))
                    .route(TARGET, route(target))
                    .route(MARKS, route(marks))
                    .route(ROOMS, route(people::rooms))
                    .route(ROLES, route(people::roles))
                    .route(ACCOUNTS, route(people::accounts))
                    .route(CONNECT_USER, route(people::connect_user))
                    .route(MEMBERS, route(people::members))
                    .route(ACQUAINTED, route(people::acquainted))
                    .route(SMALL_ROOMS, route(people::small_rooms)),
            )
            .default_service(to(not_found))
    });
    let server = server.workers(WORKERS).keep_alive(KEEP_ALIVE).client_request_timeout(REQUEST_TIMEOUT);
    Ok(server.disable_signals().shutdown_timeout(SHUTDOWN_S).listen(listener)?.run())
}

async fn open_epoch(
    state: Data<InternalState>,
    request: OpenEpochRequest,
) -> Result<OpenEpochAnswer, Problem> {
    let opened = state.authority.open_epoch(&request.run_id).await.map_err(authority_problem)?;
    let age_ms = u64::try_from(opened.age.as_millis()).unwrap_or(u64::MAX);
    Ok(OpenEpochAnswer { epoch: opened.epoch.0, age_ms })
}

async fn seed(state: Data<InternalState>, request: SeedRequest) -> Result<SeedAnswer, Problem> {
    check_count(request.rooms.len(), MAX_ROOMS, "rooms")?;
    match state.authority.seed(Epoch(request.epoch), &request.rooms).await {
        Ok(outcomes) => Ok(SeedAnswer { outcomes: Some(outcomes) }),
        Err(AuthorityError::EpochEnded) => Ok(SeedAnswer { outcomes: None }),
        Err(error) => Err(authority_problem(error)),
    }
}

async fn look_up(state: Data<InternalState>, request: LookUpRequest) -> Result<LookUpAnswer, Problem> {
    let LookUpRequest { room, sender, client_id } = &request;
    let known = state.authority.look_up(room, sender, client_id).await.map_err(authority_problem)?;
    Ok(LookUpAnswer { known })
}

async fn target(state: Data<InternalState>, request: TargetRequest) -> Result<TargetAnswer, Problem> {
    let target = state.authority.target(&request.room, request.seq).await.map_err(authority_problem)?;
    Ok(TargetAnswer { target })
}

async fn marks(state: Data<InternalState>, request: MarksRequest) -> Result<MarksAnswer, Problem> {
    check_count(request.users.len(), MAX_USERS, "users")?;
    state.authority.marks(&request.room, &request.users).await.map_err(authority_problem)
}

async fn not_found() -> Result<Bytes, Problem> {
    Err(Problem::new(ErrorCode::NotFound, "there is nothing here"))
}

fn check_count(count: usize, limit: usize, what: &str) -> Result<(), Problem> {
    if count > limit {
        return Err(Problem::new(ErrorCode::TooLarge, format!("more than {limit} {what}")));
    }
    Ok(())
}

fn authority_problem(error: AuthorityError) -> Problem {
    match error {
        AuthorityError::Unavailable(cause) => {
            tracing::warn!(cause, "the authority is unavailable");
            Refusal::unavailable(format!("unavailable: {cause}; retry")).into()
        }
        AuthorityError::OtherProcess => {
            Problem::new(ErrorCode::Conflict, "persistence reaches another Redis process")
        }
        AuthorityError::EpochEnded => Problem::new(ErrorCode::Conflict, "the epoch is past"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_secret_is_accepted() {
        let secret = SecretString::from("0123456789abcdef");
        assert!(is_secret(&secret, b"0123456789abcdef"));
        for wrong in
            [&b""[..], b"0123456789abcde", b"0123456789abcdeX", b"0123456789abcdef0", b"X123456789abcdef"]
        {
            assert!(!is_secret(&secret, wrong));
        }
    }
}
