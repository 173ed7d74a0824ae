//! The listener for gateways: epochs, seeds, look-ups, memberships, accounts. JSON by POST with the shared secret. Must
//! never be exposed. Bodies are bounded, and every refusal is a problem document.

mod people;
mod presence;
mod secret;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{
    App, HttpRequest, HttpServer,
    dev::Server,
    web::{Bytes, Data, Json, Payload, PayloadConfig, post, scope, to},
};
use sea_orm::DatabaseConnection;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::Epoch,
    internal::{
        CONNECT_USER, ConnectUserAnswer, ConnectUserRequest, LOOK_UP, LookUpAnswer, LookUpRequest, MARKS,
        MAX_ROOMS, MAX_USERS, MarksAnswer, MarksRequest, OPEN_EPOCH, OpenEpochAnswer, OpenEpochRequest,
        ROOMS, RoomsAnswer, RoomsRequest, SECRET_HEADER, SEED, SeedAnswer, SeedRequest, TARGET, TargetAnswer,
        TargetRequest,
        people::{ACCOUNTS, ROLES},
        presence::{ACQUAINTED, MEMBERS, SMALL_ROOMS},
    },
    log::{Authority, AuthorityError, Log},
    membership,
};

use crate::account::{self, Caching, UnknownUserPolicy};
use crate::http::{KEEP_ALIVE, REQUEST_TIMEOUT, body, problem::Problem};
use secret::Secret;

/// The longest request: [`MAX_ROOMS`] room ids of 64 characters with their quotes, and the fields around them.
const BODY_BYTES: usize = 96 * 1024;
/// Gateways send a body at once, and wait for 4 s.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(3500);
const WORKERS: usize = 2;
const SHUTDOWN_S: u64 = 5;

/// State that the handlers share.
pub struct InternalState {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    pub authority: Arc<dyn Authority>,
    unknown_users: UnknownUserPolicy,
    secret: Secret,
}

impl InternalState {
    #[must_use]
    pub fn new(
        db: DatabaseConnection,
        log: Arc<Log>,
        authority: Arc<dyn Authority>,
        unknown_users: UnknownUserPolicy,
        secret: SecretString,
    ) -> Self {
        Self { db, log, authority, unknown_users, secret: Secret::new(secret) }
    }

    /// Reads a request that contains the secret.
    async fn read<T: DeserializeOwned>(&self, request: &HttpRequest, body: Payload) -> Result<T, Problem> {
        let given = request.headers().get(SECRET_HEADER).map_or(&b""[..], |value| value.as_bytes());
        if !self.secret.matches(given) {
            return Err(Problem::new(ErrorCode::Unauthorized, "the shared secret is missing or wrong"));
        }
        let body = body::bytes(body, BODY_BYTES, BODY_TIMEOUT).await?;
        // The parser's message quotes its input, and gateways log refusals.
        serde_json::from_slice(&body)
            .map_err(|_| Problem::new(ErrorCode::BadRequest, "the body is not a valid request"))
    }
}

/// Builds the listener's server on an address that is already bound; the caller runs it.
///
/// # Errors
/// When listening on the socket fails.
pub fn serve(listener: TcpListener, state: Data<InternalState>) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(PayloadConfig::new(BODY_BYTES))
            .service(
                scope("")
                    .route(OPEN_EPOCH, post().to(open_epoch))
                    .route(SEED, post().to(seed))
                    .route(LOOK_UP, post().to(look_up))
                    .route(TARGET, post().to(target))
                    .route(MARKS, post().to(marks))
                    .route(ROOMS, post().to(rooms))
                    .route(ROLES, post().to(people::roles))
                    .route(ACCOUNTS, post().to(people::accounts))
                    .route(MEMBERS, post().to(presence::members))
                    .route(ACQUAINTED, post().to(presence::acquainted))
                    .route(SMALL_ROOMS, post().to(presence::small_rooms))
                    .route(CONNECT_USER, post().to(connect_user)),
            )
            .default_service(to(not_found))
    });
    let server = server.workers(WORKERS).keep_alive(KEEP_ALIVE).client_request_timeout(REQUEST_TIMEOUT);
    Ok(server.disable_signals().shutdown_timeout(SHUTDOWN_S).listen(listener)?.run())
}

async fn open_epoch(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<OpenEpochAnswer>, Problem> {
    let parsed: OpenEpochRequest = state.read(&request, body).await?;
    let opening = async { state.authority.open_epoch(&parsed.run_id).await.map_err(authority_problem) };
    let opened = within_deadline(opening).await?;
    let age_ms = u64::try_from(opened.age.as_millis()).unwrap_or(u64::MAX);
    Ok(Json(OpenEpochAnswer { epoch: opened.epoch.0, age_ms }))
}

async fn seed(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<SeedAnswer>, Problem> {
    let parsed: SeedRequest = state.read(&request, body).await?;
    if parsed.rooms.len() > MAX_ROOMS {
        return Err(Problem::new(ErrorCode::TooLarge, format!("more than {MAX_ROOMS} rooms")));
    }
    let seeding = async {
        match state.authority.seed(Epoch(parsed.epoch), &parsed.rooms).await {
            Ok(outcomes) => Ok(Json(SeedAnswer { outcomes: Some(outcomes) })),
            Err(AuthorityError::PastEpoch) => Ok(Json(SeedAnswer { outcomes: None })),
            Err(error) => Err(authority_problem(error)),
        }
    };
    within_deadline(seeding).await
}

async fn look_up(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<LookUpAnswer>, Problem> {
    let parsed: LookUpRequest = state.read(&request, body).await?;
    let looking = async {
        state
            .authority
            .look_up(&parsed.room, &parsed.sender, &parsed.client_id)
            .await
            .map_err(authority_problem)
    };
    Ok(Json(LookUpAnswer { known: within_deadline(looking).await? }))
}

async fn target(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<TargetAnswer>, Problem> {
    let parsed: TargetRequest = state.read(&request, body).await?;
    let looking = async { state.authority.target(&parsed.room, parsed.seq).await.map_err(authority_problem) };
    Ok(Json(TargetAnswer { target: within_deadline(looking).await? }))
}

async fn marks(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<MarksAnswer>, Problem> {
    let parsed: MarksRequest = state.read(&request, body).await?;
    if parsed.users.len() > MAX_USERS {
        return Err(Problem::new(ErrorCode::TooLarge, format!("more than {MAX_USERS} users")));
    }
    let looking =
        async { state.authority.marks(&parsed.room, &parsed.users).await.map_err(authority_problem) };
    Ok(Json(within_deadline(looking).await?))
}

async fn rooms(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<RoomsAnswer>, Problem> {
    let RoomsRequest { user, epoch } = state.read(&request, body).await?;
    // Reads the stamp first: any later change then invalidates this fill. Does not wait for a session, because the
    // answer does not need the cache.
    let cache = match state.log.current_session() {
        Some(session) => {
            let stamp = membership::stamp(&mut session.connection(), &user).await;
            stamp.inspect_err(|error| state.log.failed(&session, error)).ok().map(|stamp| (session, stamp))
        }
        None => None,
    };
    // Readers of the cache use the memberships in the epoch of the fill.
    let epoch = cache.as_ref().map_or(epoch, |(session, _)| epoch.max(session.epoch.0));
    let (rooms, recent) = within_deadline(people::memberships_in(&state, Epoch(epoch), &user)).await?;
    if let Some((session, stamp)) = cache {
        let mut connection = session.connection();
        let filled = membership::fill(&mut connection, &user, session.epoch, stamp, &rooms).await;
        if let Err(error) = filled {
            tracing::debug!(kind = ?error.kind(), code = error.code(), "the membership cache cannot be filled");
            state.log.failed(&session, &error);
        }
    }
    Ok(Json(RoomsAnswer { rooms, recent }))
}

async fn connect_user(
    state: Data<InternalState>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<ConnectUserAnswer>, Problem> {
    let parsed: ConnectUserRequest = state.read(&request, body).await?;
    let claims = (parsed.name.as_deref(), parsed.picture.as_deref());
    let admitting =
        account::admit(&state.db, &state.log, &parsed.user, claims, Caching::Always, state.unknown_users);
    Ok(Json(within_deadline(async { admitting.await.map_err(Problem::from) }).await?))
}

async fn not_found() -> Result<Bytes, Problem> {
    Err(Problem::new(ErrorCode::NotFound, "there is nothing here"))
}

/// Answers before the gateway gives up.
async fn within_deadline<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let late = |_| Err(Refusal::unavailable("no answer in time; retry").into());
    tokio::time::timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(late)
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
        AuthorityError::PastEpoch => Problem::new(ErrorCode::Conflict, "the epoch is past"),
    }
}
