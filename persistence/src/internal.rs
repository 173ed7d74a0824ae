//! The listener for gateways: answers requests about epochs, seeds, look-ups, memberships and accounts. Requests are
//! JSON by POST with the shared secret. The port must never be public. Bodies are bounded; refusals are problem
//! documents.

mod people;
mod rooms;
mod tls;

use std::collections::BTreeSet;
use std::future::ready;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{
    App, HttpRequest, Route,
    dev::Server,
    web::{Bytes, Data, Json, Payload, PayloadConfig, ServiceConfig, post, scope, to},
};
use arc_swap::ArcSwap;
use sea_orm::DatabaseConnection;
use serde::{Serialize, de::DeserializeOwned};
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::Epoch,
    internal::{
        CONNECT_USER_PATH, ENTER_ROOM_PATH, LOOK_UP_PATH, LookUpAnswer, LookUpRequest, MARKS_PATH,
        MAX_LOOK_UPS, MAX_ROOMS, MAX_USERS, MarksAnswer, MarksRequest, MessageKey, OPEN_EPOCH_PATH,
        OpenEpochAnswer, OpenEpochRequest, ROOMS_PATH, SECRET_HEADER, SEED_PATH, SeedAnswer, SeedRequest,
        TARGET_PATH, TargetAnswer, TargetRequest,
        presence::{ACQUAINTED_PATH, MEMBERS_PATH, SMALL_ROOMS_PATH},
        users::{ACCOUNTS_PATH, ROLES_PATH},
    },
    log::{
        Authority, AuthorityError, Log,
        keys::{PARTITIONS, Partition},
    },
    rotation::AcceptedSecrets,
};
use tokio::sync::Semaphore;

use crate::http::{self, body, problem::Problem};
use crate::http_server::{self, ServerSettings};
use crate::writer::users::UnknownUserPolicy;
use crate::writer::voids;

pub use tls::TlsConfig;

/// Longest request body, in bytes: [`MAX_ROOMS`] room ids of 64 characters with their quotes, and the other fields.
const MAX_BODY_BYTES: usize = 96 * 1024;
/// How long a body may take to arrive. Gateways send a body at once, and wait 4 s for the answer.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(3500);
const WORKERS: usize = 2;
const SHUTDOWN_TIMEOUT_S: u64 = 5;

/// The state that the handlers for gateways share.
pub struct InternalState {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    pub authority: Arc<dyn Authority>,
    pub unknown_users: UnknownUserPolicy,
    /// Creates rooms and memberships on behalf of users, as for their own requests.
    pub http: Data<http::State>,
    /// The secrets with which gateways authenticate.
    pub secrets: Arc<ArcSwap<AcceptedSecrets>>,
}

impl InternalState {
    /// Checks the shared secret, then reads and parses the body. Refuses with `unauthorized`, `too_large` or
    /// `bad_request`.
    async fn authenticate_and_parse<T: DeserializeOwned>(
        &self,
        request: &HttpRequest,
        body: Payload,
    ) -> Result<T, Problem> {
        let given = request.headers().get(SECRET_HEADER).map_or(&b""[..], |value| value.as_bytes());
        if !self.secrets.load().accepts(given) {
            return Err(Problem::new(ErrorCode::Unauthorized, "the shared secret is missing or wrong"));
        }
        let body = body::read_bytes(body, MAX_BODY_BYTES, BODY_TIMEOUT).await?;
        // The parser's message is dropped, because it quotes its input and gateways log refusals.
        serde_json::from_slice(&body)
            .map_err(|_| Problem::new(ErrorCode::BadRequest, "the body is not a valid request"))
    }
}

/// A route that reads a request, passes it to `answer`, and answers within `ANSWER_TIMEOUT`.
fn route<T, A, F>(answer: impl Fn(Data<InternalState>, T) -> F + Copy + 'static) -> Route
where
    T: DeserializeOwned + 'static,
    A: Serialize + 'static,
    F: Future<Output = Result<A, Problem>> + 'static,
{
    post().to(move |state: Data<InternalState>, request: HttpRequest, body: Payload| async move {
        let parsed = state.authenticate_and_parse(&request, body).await?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer(state, parsed)).await {
            Ok(answered) => answered.map(Json),
            Err(_) => Err(Refusal::unavailable("no answer in time; retry").into()),
        }
    })
}

/// Builds the server for gateways on a bound listener. With `tls`, it refuses connections without TLS. The caller runs
/// the server.
pub fn serve(
    listener: TcpListener,
    state: Data<InternalState>,
    tls: Option<TlsConfig>,
) -> std::io::Result<Server> {
    let settings =
        ServerSettings { name: "internal", workers: Some(WORKERS), shutdown_timeout_s: SHUTDOWN_TIMEOUT_S };
    let make_app = move || App::new().configure(|app| configure(app, &state));
    let Some(tls) = tls else {
        return http_server::serve(settings, listener, |socket| ready(Ok(socket)), make_app);
    };
    let permits = Arc::new(Semaphore::new(tls::MAX_HANDSHAKES));
    let prepare = move |socket| tls::accept(socket, tls.load_full(), permits.clone());
    http_server::serve(settings, listener, prepare, make_app)
}

fn configure(app: &mut ServiceConfig, state: &Data<InternalState>) {
    app.app_data(state.clone())
        .app_data(PayloadConfig::new(MAX_BODY_BYTES))
        .service(
            scope("")
                .route(OPEN_EPOCH_PATH, route(open_epoch))
                .route(SEED_PATH, route(seed))
                .route(LOOK_UP_PATH, route(look_up))
                .route(TARGET_PATH, route(target))
                .route(MARKS_PATH, route(marks))
                .route(ROOMS_PATH, route(rooms::rooms))
                .route(ROLES_PATH, route(people::roles))
                .route(ACCOUNTS_PATH, route(people::accounts))
                .route(CONNECT_USER_PATH, route(people::connect_user))
                .route(ENTER_ROOM_PATH, route(rooms::enter_room))
                .route(MEMBERS_PATH, route(people::members))
                .route(ACQUAINTED_PATH, route(people::acquainted))
                .route(SMALL_ROOMS_PATH, route(people::small_rooms)),
        )
        .default_service(to(not_found));
}

async fn open_epoch(
    state: Data<InternalState>,
    request: OpenEpochRequest,
) -> Result<OpenEpochAnswer, Problem> {
    let bad_request = |detail| Problem::new(ErrorCode::BadRequest, detail);
    let partitions: Vec<Partition> = match &request.partitions {
        None => Partition::all().collect(),
        Some(numbers) if numbers.iter().all(|number| *number < PARTITIONS) => {
            numbers.iter().copied().map(Partition).collect::<BTreeSet<_>>().into_iter().collect()
        }
        Some(_) => return Err(bad_request("a partition does not exist")),
    };
    if partitions.is_empty() {
        return Err(bad_request("no partition is named"));
    }
    let opened = state.authority.open_epochs(&request.run_id, &partitions).await;
    let answer = OpenEpochAnswer::new(&partitions, &opened.map_err(authority_problem)?);
    // The process serves none of the partitions.
    let answer = answer.ok_or_else(|| authority_problem(AuthorityError::OtherProcess))?;
    // A gateway of the previous version would use one epoch for all partitions. After a conflict it does not continue
    // its last epoch either.
    let is_of_all = answer.others.is_empty() && answer.without_epoch.is_empty();
    if request.partitions.is_none() && !is_of_all {
        let refusal = "the partitions have different epochs, which needs a later version of the gateway";
        return Err(Problem::new(ErrorCode::Conflict, refusal));
    }
    Ok(answer)
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
    check_count(1 + request.more.len(), MAX_LOOK_UPS, "client ids")?;
    let keys: Vec<MessageKey> = std::iter::once(request.first).chain(request.more).collect();
    let mut known = voids::look_up_client_ids(&state.db, &keys).await?;
    Ok(LookUpAnswer { more: known.split_off(1), known: known.pop().flatten() })
}

async fn target(state: Data<InternalState>, request: TargetRequest) -> Result<TargetAnswer, Problem> {
    match state.authority.target(&request.room, request.seq).await {
        Ok(target) => Ok(TargetAnswer { target, not_stored: false }),
        Err(AuthorityError::NotStored) if request.waits_itself => {
            Ok(TargetAnswer { target: None, not_stored: true })
        }
        Err(error) => Err(authority_problem(error)),
    }
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
            Problem::new(ErrorCode::Conflict, AuthorityError::OtherProcess.to_string())
        }
        AuthorityError::EpochEnded => Problem::new(ErrorCode::Conflict, "the epoch is past"),
        AuthorityError::NotStored => Refusal::unavailable("the event is not stored yet; retry").into(),
    }
}
