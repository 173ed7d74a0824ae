//! The HTTP client with which gateways call the internal listeners of persistence, to open epochs, seed rooms, and load
//! users and memberships. Any replica of persistence may answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use reqwest::StatusCode;
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    CONNECT_USER_PATH, ConnectUserAnswer, ConnectUserRequest, ENTER_ROOM_PATH, EnterRoomAnswer,
    EnterRoomRequest, LOOK_UP_PATH, LookUpAnswer, LookUpRequest, MARKS_PATH, MAX_LOOK_UPS, MAX_USERS,
    MAX_USERS_WITH_ROOMS, MarksAnswer, MarksRequest, MessageKey, OPEN_EPOCH_PATH, OpenEpochAnswer,
    OpenEpochRequest, SECRET_HEADER, SEED_PATH, SeedAnswer, SeedRequest, TARGET_PATH, TargetAnswer,
    TargetRequest, UserRooms, UsersOfRoom, combining::RequestCombiner, pools::RequestPools,
};
use crate::{
    http_client,
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    log::{
        Authority, AuthorityError, KnownClientId, OpenedEpoch, SeedOutcome, StoredMarks, Target,
        keys::Partition,
    },
    membership::Account,
    rotation::AcceptedSecrets,
};

/// Limit for one request to one replica. The slowest request is a seed of 200 rooms.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of idle connections per replica, and how long they are kept.
const MAX_IDLE_CONNECTIONS: usize = 2;
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Maximum number of concurrent requests for the memberships, and for the accounts, of many users.
const MAX_SHARED_REQUESTS: usize = 2;

/// Checks the URL of an internal listener. The URL must begin with `https` if TLS is used, otherwise with `http`. The
/// error names the problem of the URL.
pub fn check_url(url: &str, uses_tls: bool) -> Result<(), &'static str> {
    match reqwest::Url::parse(url) {
        Ok(url) if uses_tls && url.scheme() != "https" => {
            Err("must begin with https://, because --internal-tls-ca is given")
        }
        Ok(url) if !uses_tls && url.scheme() == "https" => {
            Err("begins with https://: give --internal-tls-ca too")
        }
        Ok(url) if !uses_tls && url.scheme() != "http" => Err("must begin with http://"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => Err("must not name a user"),
        Ok(url) if url.host_str().is_some() => Ok(()),
        _ => Err("is not a URL such as http://127.0.0.1:28081"),
    }
}

/// Sends requests to the internal listeners of persistence. Tries another replica if one does not answer.
pub struct InternalClient {
    /// Has the certificates and authorities that are in use.
    http: ArcSwap<reqwest::Client>,
    urls: Vec<String>,
    secrets: ArcSwap<AcceptedSecrets>,
    /// Index of the replica that answered last, which is tried first for the next request.
    preferred: AtomicUsize,
    pools: RequestPools,
    look_ups: RequestCombiner<MessageKey, Option<KnownClientId>>,
    pub(super) role_look_ups: RequestCombiner<UsersOfRoom, Vec<Option<String>>>,
    pub(super) account_loads: RequestCombiner<UserId, Option<Account>>,
    /// The questions are users, with the epoch in which the caller uses the memberships.
    pub(super) membership_loads: RequestCombiner<(UserId, Epoch), Option<UserRooms>>,
    /// The caller whose request waits for writers of an earlier epoch holds this lock.
    pub(super) earlier_epoch: tokio::sync::Mutex<()>,
    /// The runtime on which all connections run. The runtime of a caller may end earlier.
    runtime: tokio::runtime::Handle,
}

impl InternalClient {
    /// Creates a client without TLS for replicas with these URLs. `secret` is the secret that gateways and persistence
    /// share.
    pub fn new(urls: &[String], secret: SecretString) -> Result<Self, reqwest::Error> {
        Self::with_access(urls, secret.into(), None)
    }

    /// Creates a client for replicas with these URLs. `secrets` are those that gateways and persistence share. With
    /// `tls`, the URLs begin with `https`.
    pub fn with_access(
        urls: &[String],
        secrets: AcceptedSecrets,
        tls: Option<ClientConfig>,
    ) -> Result<Self, reqwest::Error> {
        let http = ArcSwap::from_pointee(build_http(tls)?);
        let urls = urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        let runtime = tokio::runtime::Handle::current();
        Ok(Self {
            http,
            urls,
            secrets: ArcSwap::from_pointee(secrets),
            preferred: AtomicUsize::new(0),
            pools: RequestPools::default(),
            look_ups: RequestCombiner::new(|_| 1, MAX_LOOK_UPS, 1),
            role_look_ups: RequestCombiner::new(|question: &UsersOfRoom| question.users.len(), MAX_USERS, 1),
            account_loads: RequestCombiner::new(|_| 1, MAX_USERS, MAX_SHARED_REQUESTS),
            membership_loads: RequestCombiner::new(|_| 1, MAX_USERS_WITH_ROOMS, MAX_SHARED_REQUESTS),
            earlier_epoch: tokio::sync::Mutex::default(),
            runtime,
        })
    }

    /// Replaces the shared secrets. Requests that are running keep theirs.
    pub fn replace_secrets(&self, secrets: AcceptedSecrets) {
        self.secrets.store(Arc::new(secrets));
    }

    /// Replaces the authorities and the certificate. Requests that are running keep their connections; new requests
    /// open new ones.
    pub fn replace_tls(&self, tls: ClientConfig) -> Result<(), reqwest::Error> {
        self.http.store(Arc::new(build_http(Some(tls))?));
        Ok(())
    }

    /// Creates or updates a user from the claims of a token; returns `None` if the user is unknown and may not be
    /// created.
    pub async fn connect_user(
        &self,
        request: &ConnectUserRequest,
    ) -> Result<ConnectUserAnswer, AuthorityError> {
        self.send_request(CONNECT_USER_PATH, request).await
    }

    /// Makes a user a member of a public room, which is created if it does not exist.
    pub async fn enter_room(&self, request: &EnterRoomRequest) -> Result<EnterRoomAnswer, AuthorityError> {
        self.send_request(ENTER_ROOM_PATH, request).await
    }

    /// Sends a request to one replica of persistence. If it does not answer, tries the next replica. The error is
    /// `OtherProcess` if a replica reported it, otherwise `Unavailable`.
    pub(super) async fn send_request<A: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<A, AuthorityError> {
        let unavailable = |error: &dyn std::fmt::Display| AuthorityError::Unavailable(error.to_string());
        let body = bytes::Bytes::from(serde_json::to_vec(request).map_err(|error| unavailable(&error))?);
        let permit = self.pools.pool_of(path).acquire().await?;
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
            let (http, secrets) = (self.http.load_full(), self.secrets.load_full());
            let (url, body) = (format!("{}{path}", self.urls[replica]), body.clone());
            let answer = self.runtime.spawn(async move {
                let answer = send_with_secrets(&http, &url, &secrets, body).await?;
                answer.error_for_status()?.json::<A>().await
            });
            match answer.await {
                Ok(Ok(answer)) => {
                    self.preferred.store(replica, Ordering::Relaxed);
                    permit.record_success();
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
                    // The innermost cause names what is wrong with a certificate.
                    last_error = AuthorityError::Unavailable(http_client::innermost_cause(error));
                }
                Err(error) => {
                    all_disconnected = false;
                    last_error = unavailable(&error);
                }
            }
        }
        permit.record_failure();
        Err(last_error)
    }
}

fn build_http(tls: Option<ClientConfig>) -> Result<reqwest::Client, reqwest::Error> {
    let builder = http_client::builder()
        .timeout(REQUEST_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_TIMEOUT);
    match tls {
        None => builder.build(),
        Some(tls) => builder.use_preconfigured_tls(tls).https_only(true).build(),
    }
}

/// Sends a request with the newest secret. If the replica does not accept it, sends the request with the older secret,
/// because the replica may not have the new one yet. A refused request has no effect, so it can be repeated.
async fn send_with_secrets(
    http: &reqwest::Client,
    url: &str,
    secrets: &AcceptedSecrets,
    body: bytes::Bytes,
) -> Result<reqwest::Response, reqwest::Error> {
    let send = |secret: &SecretString| {
        let request = http.post(url).header(SECRET_HEADER, secret.expose_secret());
        request.header("content-type", "application/json").body(body.clone()).send()
    };
    let (newest, older) = secrets.newest_and_older();
    let answer = send(newest).await?;
    match older {
        Some(older) if answer.status() == StatusCode::UNAUTHORIZED => send(older).await,
        _ => Ok(answer),
    }
}

#[async_trait]
impl Authority for InternalClient {
    async fn open_epochs(
        &self,
        run_id: &str,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, OpenedEpoch)>, AuthorityError> {
        let numbers = partitions.iter().map(|partition| partition.0).collect();
        let request = OpenEpochRequest { run_id: run_id.to_owned(), partitions: Some(numbers) };
        let answer: OpenEpochAnswer = self.send_request(OPEN_EPOCH_PATH, &request).await?;
        Ok(answer.epochs_of(partitions))
    }

    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
        let request = SeedRequest { epoch: epoch.0, rooms: rooms.to_vec() };
        self.send_request::<SeedAnswer>(SEED_PATH, &request).await?.outcomes.ok_or(AuthorityError::EpochEnded)
    }

    async fn look_up(
        &self,
        room: &RoomId,
        sender: &UserId,
        client_id: &ClientId,
    ) -> Result<Option<KnownClientId>, AuthorityError> {
        let key = MessageKey { room: room.clone(), sender: sender.clone(), client_id: client_id.clone() };
        let request = |mut keys: Vec<MessageKey>| async move {
            let request = LookUpRequest { more: keys.split_off(1), first: keys.remove(0) };
            let answer: LookUpAnswer = self.send_request(LOOK_UP_PATH, &request).await?;
            Ok::<Vec<_>, AuthorityError>(std::iter::once(answer.known).chain(answer.more).collect())
        };
        self.look_ups.ask(key, request).await
    }

    async fn marks(&self, room: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError> {
        let mut all = StoredMarks::default();
        for users in users.chunks(MAX_USERS) {
            let request = MarksRequest { room: room.clone(), users: users.to_vec() };
            let answer: MarksAnswer = self.send_request(MARKS_PATH, &request).await?;
            // Each request may have read the room at a different head. The lowest head is the one up to which all marks
            // are complete.
            all.head = if all.marks.is_empty() { answer.head } else { all.head.min(answer.head) };
            all.marks.extend(answer.marks);
        }
        Ok(all)
    }

    async fn roles(&self, room: &RoomId, users: &[UserId]) -> Result<Vec<Option<String>>, AuthorityError> {
        InternalClient::roles(self, room, users).await
    }

    async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AuthorityError> {
        let request = TargetRequest { room: room.clone(), seq, waits_itself: true };
        let TargetAnswer { target, not_stored } = self.send_request(TARGET_PATH, &request).await?;
        if not_stored { Err(AuthorityError::NotStored) } else { Ok(target) }
    }
}
