//! The listener that gateways ask: epochs, seeds, look-ups, memberships, accounts. JSON by POST with the shared
//! secret. Never to be exposed. Promises bounded bodies and a problem document for whatever is refused.

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

use crate::account::{self, Caching, Newcomers};
use crate::http::{KEEP_ALIVE, REQUEST_TIMEOUT, body, problem::Problem};
use secret::Secret;

/// The longest request: [`MAX_ROOMS`] room ids of 64 characters with their quotes, and what is around them.
const BODY_BYTES: usize = 96 * 1024;
/// Gateways send a body in one go, and wait for 4 s.
const BODY_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(3500);
const WORKERS: usize = 2;
const SHUTDOWN_S: u64 = 5;

/// What the handlers share.
pub struct State {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    pub authority: Arc<dyn Authority>,
    newcomers: Newcomers,
    secret: Secret,
}

impl State {
    #[must_use]
    pub fn new(
        db: DatabaseConnection,
        log: Arc<Log>,
        authority: Arc<dyn Authority>,
        newcomers: Newcomers,
        secret: SecretString,
    ) -> Self {
        Self { db, log, authority, newcomers, secret: Secret::new(secret) }
    }

    /// Reads a request of someone who knows the secret.
    async fn read<T: DeserializeOwned>(&self, request: &HttpRequest, body: Payload) -> Result<T, Problem> {
        let given = request.headers().get(SECRET_HEADER).map_or(&b""[..], |value| value.as_bytes());
        if !self.secret.is(given) {
            return Err(Problem::new(ErrorCode::Unauthorized, "the shared secret is missing or another"));
        }
        let body = body::bytes(body, BODY_BYTES, BODY_WITHIN).await?;
        // The parser's words quote what they were given, and gateways log refusals.
        serde_json::from_slice(&body)
            .map_err(|_| Problem::new(ErrorCode::BadRequest, "the body is no such request"))
    }
}

/// Builds the listener's server on an address that is already bound; the caller runs it.
///
/// # Errors
/// When the socket cannot be listened on.
pub fn serve(listener: TcpListener, state: Data<State>) -> std::io::Result<Server> {
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
            .default_service(to(nothing_here))
    });
    let server = server.workers(WORKERS).keep_alive(KEEP_ALIVE).client_request_timeout(REQUEST_TIMEOUT);
    Ok(server.disable_signals().shutdown_timeout(SHUTDOWN_S).listen(listener)?.run())
}

async fn open_epoch(
    state: Data<State>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<OpenEpochAnswer>, Problem> {
    let asked: OpenEpochRequest = state.read(&request, body).await?;
    let opening = async { state.authority.open_epoch(&asked.run_id).await.map_err(refused) };
    let opened = in_time(opening).await?;
    let age_ms = u64::try_from(opened.age.as_millis()).unwrap_or(u64::MAX);
    Ok(Json(OpenEpochAnswer { epoch: opened.epoch.0, age_ms }))
}

async fn seed(state: Data<State>, request: HttpRequest, body: Payload) -> Result<Json<SeedAnswer>, Problem> {
    let asked: SeedRequest = state.read(&request, body).await?;
    if asked.rooms.len() > MAX_ROOMS {
        return Err(Problem::new(ErrorCode::TooLarge, format!("more than {MAX_ROOMS} rooms")));
    }
    let seeding = async {
        match state.authority.seed(Epoch(asked.epoch), &asked.rooms).await {
            Ok(outcomes) => Ok(Json(SeedAnswer { outcomes: Some(outcomes) })),
            Err(AuthorityError::PastEpoch) => Ok(Json(SeedAnswer { outcomes: None })),
            Err(error) => Err(refused(error)),
        }
    };
    in_time(seeding).await
}

async fn look_up(
    state: Data<State>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<LookUpAnswer>, Problem> {
    let asked: LookUpRequest = state.read(&request, body).await?;
    let looking = async {
        state.authority.look_up(&asked.room, &asked.sender, &asked.client_id).await.map_err(refused)
    };
    Ok(Json(LookUpAnswer { known: in_time(looking).await? }))
}

async fn target(
    state: Data<State>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<TargetAnswer>, Problem> {
    let asked: TargetRequest = state.read(&request, body).await?;
    let looking = async { state.authority.target(&asked.room, asked.seq).await.map_err(refused) };
    Ok(Json(TargetAnswer { target: in_time(looking).await? }))
}

async fn marks(
    state: Data<State>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<MarksAnswer>, Problem> {
    let asked: MarksRequest = state.read(&request, body).await?;
    if asked.users.len() > MAX_USERS {
        return Err(Problem::new(ErrorCode::TooLarge, format!("more than {MAX_USERS} users")));
    }
    let looking = async { state.authority.marks(&asked.room, &asked.users).await.map_err(refused) };
    Ok(Json(in_time(looking).await?))
}

async fn rooms(
    state: Data<State>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<RoomsAnswer>, Problem> {
    let RoomsRequest { user, epoch } = state.read(&request, body).await?;
    // The stamp first: a change from here on shuts the fill out. A session is not waited for: the answer does
    // not need the cache.
    let cache = match state.log.current_session() {
        Some(session) => {
            let stamp = membership::stamp(&mut session.connection(), &user).await;
            stamp.inspect_err(|error| state.log.failed(&session, error)).ok().map(|stamp| (session, stamp))
        }
        None => None,
    };
    // Whoever finds it in the cache uses it in the epoch of the fill.
    let epoch = cache.as_ref().map_or(epoch, |(session, _)| epoch.max(session.epoch.0));
    let (rooms, recent) = in_time(people::memberships_in(&state, Epoch(epoch), &user)).await?;
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
    state: Data<State>,
    request: HttpRequest,
    body: Payload,
) -> Result<Json<ConnectUserAnswer>, Problem> {
    let asked: ConnectUserRequest = state.read(&request, body).await?;
    let claims = (asked.name.as_deref(), asked.picture.as_deref());
    let admitting =
        account::admit(&state.db, &state.log, &asked.user, claims, Caching::Always, state.newcomers);
    Ok(Json(in_time(async { admitting.await.map_err(Problem::from) }).await?))
}

async fn nothing_here() -> Result<Bytes, Problem> {
    Err(Problem::new(ErrorCode::NotFound, "there is nothing here"))
}

/// Answers before the gateway has given up.
async fn in_time<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let late = |_| Err(Refusal::unavailable("not now: no answer in time").into());
    tokio::time::timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(late)
}

fn refused(error: AuthorityError) -> Problem {
    match error {
        AuthorityError::Unavailable(cause) => {
            tracing::warn!(cause, "the authority is unavailable");
            Refusal::unavailable(format!("not now: {cause}")).into()
        }
        AuthorityError::OtherProcess => {
            Problem::new(ErrorCode::Conflict, "persistence reaches another Redis process")
        }
        AuthorityError::PastEpoch => Problem::new(ErrorCode::Conflict, "the epoch is past"),
    }
}
