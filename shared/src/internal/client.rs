//! The HTTP client with which gateways call the internal listeners of persistence, to open epochs, seed rooms, and load
//! users and memberships. Any replica of persistence may answer.

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
    ACCOUNTS, CONNECT_USER, ConnectUserAnswer, ConnectUserRequest, LOOK_UP, LookUpAnswer, LookUpRequest,
    MARKS, MAX_USERS, MarksAnswer, MarksRequest, OPEN_EPOCH, OpenEpochAnswer, OpenEpochRequest, ROLES, ROOMS,
    RoomsAnswer, RoomsRequest, SECRET_HEADER, SEED, SeedAnswer, SeedRequest, TARGET, TargetAnswer,
    TargetRequest, circuit_breaker::CircuitBreaker,
};
use crate::{
    http_client,
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    log::{Authority, AuthorityError, KnownClientId, OpenedEpoch, SeedOutcome, StoredMarks, Target},
};

/// Limit for one request to one replica. The slowest request is a seed of 200 rooms.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Limit of concurrent requests. It is low, so that during a storm of connects requests wait in the gateway and not for
/// PostgreSQL's pool, and because each HTTP connection uses about 35 KB.
const MAX_CONCURRENT_REQUESTS: usize = 8;
/// Highest number of idle connections per replica, and how long they are kept.
const MAX_IDLE_CONNECTIONS: usize = 2;
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a request may wait until fewer than [`MAX_CONCURRENT_REQUESTS`] requests run.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(4);
/// The paths of requests that fail only when PostgreSQL is unavailable, so that their failures may open the circuit
/// breaker. Other requests may also fail because they wait for records to be stored.
const PATHS_WITH_BREAKER: [&str; 6] = [LOOK_UP, MARKS, ROOMS, CONNECT_USER, ROLES, ACCOUNTS];

/// Checks the URL of an internal listener. The URL must use plain HTTP, because internal listeners are inside the
/// private network and have no TLS. The error says what is wrong with the URL.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    match reqwest::Url::parse(url) {
        Ok(url) if url.scheme() != "http" => Err("must begin with http://"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => Err("must not name a user"),
        Ok(url) if url.host_str().is_some() => Ok(()),
        _ => Err("is not a URL such as http://127.0.0.1:28081"),
    }
}

/// Sends requests to the internal listeners of persistence. Tries another replica if one does not answer.
pub struct InternalClient {
    http: reqwest::Client,
    urls: Vec<String>,
    secret: SecretString,
    /// Index of the replica that answered last, which is tried first for the next request.
    preferred: AtomicUsize,
    permits: Semaphore,
    breaker: CircuitBreaker,
    /// The runtime on which all connections run. The runtime of a caller may end earlier.
    runtime: tokio::runtime::Handle,
}

impl InternalClient {
    /// Creates a client for replicas with these URLs. `secret` is the secret that gateways and persistence share.
    pub fn new(urls: &[String], secret: SecretString) -> Result<Self, reqwest::Error> {
        let http = http_client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        let urls = urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        let runtime = tokio::runtime::Handle::current();
        Ok(Self {
            http,
            urls,
            secret,
            preferred: AtomicUsize::new(0),
            permits: Semaphore::new(MAX_CONCURRENT_REQUESTS),
            breaker: CircuitBreaker::default(),
            runtime,
        })
    }

    /// Loads a user's memberships from PostgreSQL, for use in this epoch. Persistence also writes them into the cache.
    pub async fn rooms(&self, user: &UserId, epoch: Epoch) -> Result<RoomsAnswer, AuthorityError> {
        self.ask(ROOMS, &RoomsRequest { user: user.clone(), epoch: epoch.0 }).await
    }

    /// Creates or updates a user from the claims of a token; `None` if the user is unknown and may not be created.
    pub async fn connect_user(
        &self,
        request: &ConnectUserRequest,
    ) -> Result<ConnectUserAnswer, AuthorityError> {
        self.ask(CONNECT_USER, request).await
    }

    /// Sends a request to a replica, and to the others in turn until one answers. The error is `OtherProcess` if a
    /// replica reported it, otherwise `Unavailable`.
    pub(super) async fn ask<A: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<A, AuthorityError> {
        let unavailable = |error: &dyn std::fmt::Display| AuthorityError::Unavailable(error.to_string());
        let body = bytes::Bytes::from(serde_json::to_vec(request).map_err(|error| unavailable(&error))?);
        let permit = tokio::time::timeout(PERMIT_TIMEOUT, self.permits.acquire()).await;
        let _permit = permit
            .map_err(|_| unavailable(&"too many requests are waiting"))?
            .map_err(|e| unavailable(&e))?;
        let uses_breaker = PATHS_WITH_BREAKER.contains(&path);
        // The breaker is checked after the wait for a permit, because it may open during the wait.
        if uses_breaker && self.breaker.refuses(Instant::now()) {
            return Err(unavailable(&"it did not answer a moment ago"));
        }
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last_error = AuthorityError::Unavailable("no persistence URL is configured".to_owned());
        let mut all_disconnected = !self.urls.is_empty();
        for attempt in 0..=self.urls.len() {
            // One URL may lead to many replicas. If every attempt failed because of its connection, replicas may just
            // have stopped, and one more attempt may reach another replica.
            if attempt == self.urls.len() && !all_disconnected {
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
                    if uses_breaker {
                        self.breaker.succeeded();
                    }
                    return Ok(answer);
                }
                Ok(Err(error)) if error.status() == Some(StatusCode::CONFLICT) => {
                    last_error = AuthorityError::OtherProcess;
                    all_disconnected = false;
                }
                // `OtherProcess` is kept, because it is more precise than an error of a replica that did not answer.
                Ok(Err(_)) if last_error == AuthorityError::OtherProcess => {}
                Ok(Err(error)) => {
                    all_disconnected &= error.is_connect() || (error.is_request() && !error.is_timeout());
                    last_error = unavailable(&error.without_url());
                }
                Err(error) => {
                    all_disconnected = false;
                    last_error = unavailable(&error);
                }
            }
        }
        if uses_breaker {
            self.breaker.failed(Instant::now());
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
        let request = SeedRequest { epoch: epoch.0, rooms: rooms.to_vec() };
        self.ask::<SeedAnswer>(SEED, &request).await?.outcomes.ok_or(AuthorityError::EpochEnded)
    }

    async fn look_up(
        &self,
        room: &RoomId,
        sender: &UserId,
        client_id: &ClientId,
    ) -> Result<Option<KnownClientId>, AuthorityError> {
        let request =
            LookUpRequest { room: room.clone(), sender: sender.clone(), client_id: client_id.clone() };
        Ok(self.ask::<LookUpAnswer>(LOOK_UP, &request).await?.known)
    }

    async fn marks(&self, room: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError> {
        let mut all = StoredMarks::default();
        for users in users.chunks(MAX_USERS) {
            let request = MarksRequest { room: room.clone(), users: users.to_vec() };
            let answer: MarksAnswer = self.ask(MARKS, &request).await?;
            // Each chunk was read at its own head. All chunks are complete up to the lowest of these heads.
            all.head = if all.marks.is_empty() { answer.head } else { all.head.min(answer.head) };
            all.marks.extend(answer.marks);
        }
        Ok(all)
    }

    async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AuthorityError> {
        let request = TargetRequest { room: room.clone(), seq };
        Ok(self.ask::<TargetAnswer>(TARGET, &request).await?.target)
    }
}
