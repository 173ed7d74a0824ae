//! Client of persistence's internal listeners over HTTP: any replica that answers. What gateways open epochs, seed
//! rooms and learn of people with.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use super::{
    CONNECT_USER, ConnectUserAnswer, ConnectUserRequest, LOOK_UP, LookUpAnswer, LookUpRequest, MARKS,
    MAX_USERS, MarksAnswer, MarksRequest, OPEN_EPOCH, OpenEpochAnswer, OpenEpochRequest, ROOMS, RoomsAnswer,
    RoomsRequest, SECRET_HEADER, SEED, SeedAnswer, SeedRequest, TARGET, TargetAnswer, TargetRequest,
    people::{ACCOUNTS, ROLES},
    rest::Rest,
};
use crate::{
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    log::{Authority, AuthorityError, Known, OpenedEpoch, SeedOutcome, StoredMarks, Target},
};

/// One request to one replica; a seed of 200 rooms is the longest of them.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests under way at once. A storm of connects waits here rather than in PostgreSQL's pool, and an idle HTTP
/// connection holds about 35 KB.
const MAX_REQUESTS: usize = 8;
/// Connections that are kept when nothing is asked, and for how long.
const IDLE_CONNECTIONS: usize = 2;
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a request may wait for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(4);
/// What fails only when PostgreSQL is away, whatever is asked: the others may wait for something to be stored.
const REST_WITH_POSTGRESQL: [&str; 6] = [LOOK_UP, MARKS, ROOMS, CONNECT_USER, ROLES, ACCOUNTS];

/// Whether this is an address that can be asked: plain HTTP, inside one's own network.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    match reqwest::Url::parse(url) {
        Ok(url) if url.scheme() != "http" => Err("must begin with http://"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => Err("must not name a user"),
        Ok(url) if url.host_str().is_some() => Ok(()),
        _ => Err("is no URL, such as http://127.0.0.1:28081"),
    }
}

/// See the module.
pub struct InternalClient {
    http: reqwest::Client,
    urls: Vec<String>,
    secret: SecretString,
    /// The replica that answered last is asked first.
    preferred: AtomicUsize,
    turns: Semaphore,
    rest: Rest,
    /// Connections are driven by this runtime, whichever worker asks.
    runtime: tokio::runtime::Handle,
}

impl InternalClient {
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(urls: &[String], secret: SecretString) -> Result<Self, reqwest::Error> {
        // Plain HTTP here; but where another crate of the build has TLS switched on in this library, it wants a choice.
        crate::tls::prepare();
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .no_proxy()
            .build()?;
        let urls = urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        let runtime = tokio::runtime::Handle::current();
        Ok(Self {
            http,
            urls,
            secret,
            preferred: AtomicUsize::new(0),
            turns: Semaphore::new(MAX_REQUESTS),
            rest: Rest::default(),
            runtime,
        })
    }

    /// A user's memberships from PostgreSQL, to be used in this epoch; persistence puts them into the cache as well.
    ///
    /// # Errors
    /// When no replica answers.
    pub async fn rooms(&self, user: &UserId, epoch: Epoch) -> Result<RoomsAnswer, AuthorityError> {
        self.ask(ROOMS, &RoomsRequest { user: user.clone(), epoch: epoch.0 }).await
    }

    /// Creates or updates a user from their claims; `None`: not known, and not to be created so.
    ///
    /// # Errors
    /// When no replica answers.
    pub async fn connect_user(
        &self,
        request: &ConnectUserRequest,
    ) -> Result<ConnectUserAnswer, AuthorityError> {
        self.ask(CONNECT_USER, request).await
    }

    pub(super) async fn ask<A: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<A, AuthorityError> {
        let unavailable = |error: &dyn std::fmt::Display| AuthorityError::Unavailable(error.to_string());
        let body = bytes::Bytes::from(serde_json::to_vec(request).map_err(|error| unavailable(&error))?);
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turns.acquire()).await;
        let _turn =
            turn.map_err(|_| unavailable(&"too many requests are waiting"))?.map_err(|e| unavailable(&e))?;
        let rests = REST_WITH_POSTGRESQL.contains(&path);
        // Looked at only now: many may have waited for their turns since it was asked last.
        if rests && self.rest.lasts(Instant::now()) {
            return Err(unavailable(&"it did not answer a moment ago"));
        }
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last_error = AuthorityError::Unavailable("no persistence URL is configured".to_owned());
        let mut all_broke = !self.urls.is_empty();
        for attempt in 0..=self.urls.len() {
            // Behind one address there may be many replicas: connections that break were to one that has just gone.
            if attempt == self.urls.len() && !all_broke {
                break;
            }
            let replica = (first + attempt) % self.urls.len();
            let request = self
                .http
                .post(format!("{}{path}", self.urls[replica]))
                .header(SECRET_HEADER, self.secret.expose_secret())
                .header("content-type", "application/json")
                .body(body.clone());
            let answer = self
                .runtime
                .spawn(async move { request.send().await?.error_for_status()?.json::<A>().await });
            match answer.await {
                Ok(Ok(answer)) => {
                    self.preferred.store(replica, Ordering::Relaxed);
                    if rests {
                        self.rest.over();
                    }
                    return Ok(answer);
                }
                Ok(Err(error)) if error.status() == Some(StatusCode::CONFLICT) => {
                    last_error = AuthorityError::OtherProcess;
                    all_broke = false;
                }
                // One that reaches another Redis process knows more than one that does not answer.
                Ok(Err(_)) if last_error == AuthorityError::OtherProcess => {}
                Ok(Err(error)) => {
                    all_broke &= error.is_connect() || (error.is_request() && !error.is_timeout());
                    last_error = unavailable(&error.without_url());
                }
                Err(error) => {
                    all_broke = false;
                    last_error = unavailable(&error);
                }
            }
        }
        if rests {
            self.rest.failed(Instant::now());
        }
        Err(last_error)
    }
}

#[async_trait]
impl Authority for InternalClient {
    async fn open_epoch(&self, run_id: &str) -> Result<OpenedEpoch, AuthorityError> {
        let answer: OpenEpochAnswer =
            self.ask(OPEN_EPOCH, &OpenEpochRequest { run_id: run_id.to_owned() }).await?;
        Ok(OpenedEpoch { epoch: Epoch(answer.epoch), age: Duration::from_millis(answer.age_ms) })
    }

    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
        let answer: SeedAnswer =
            self.ask(SEED, &SeedRequest { epoch: epoch.0, rooms: rooms.to_vec() }).await?;
        answer.outcomes.ok_or(AuthorityError::PastEpoch)
    }

    async fn look_up(
        &self,
        room: &RoomId,
        sender: &UserId,
        client_id: &ClientId,
    ) -> Result<Option<Known>, AuthorityError> {
        let request =
            LookUpRequest { room: room.clone(), sender: sender.clone(), client_id: client_id.clone() };
        let answer: LookUpAnswer = self.ask(LOOK_UP, &request).await?;
        Ok(answer.known)
    }

    async fn marks(&self, room: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError> {
        let mut all = StoredMarks::default();
        for users in users.chunks(MAX_USERS) {
            let request = MarksRequest { room: room.clone(), users: users.to_vec() };
            let answer: MarksAnswer = self.ask(MARKS, &request).await?;
            // Of several reads the lowest head is the one up to which all of them are complete.
            all.head = if all.marks.is_empty() { answer.head } else { all.head.min(answer.head) };
            all.marks.extend(answer.marks);
        }
        Ok(all)
    }

    async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AuthorityError> {
        let answer: TargetAnswer = self.ask(TARGET, &TargetRequest { room: room.clone(), seq }).await?;
        Ok(answer.target)
    }
}
