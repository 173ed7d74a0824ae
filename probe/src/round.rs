//! One round of the probe: connects, talks to itself in its own room, and reads the message again. Each step has a time
//! limit, so a round always ends. A round ends at the first step that fails.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    config::ProbeArgs,
    connection::{self, ByteStream},
    credentials::Credentials,
    endpoint::Endpoint,
    http::Http,
    socket::Socket,
    step::{CREDENTIALS, PROTOCOL, Step, StepFailure, TIMEOUT},
    trust::{self, CertificateExpiries},
};

/// What the probe says.
const CONTENT: &str = "tidings-probe";
const JOIN_REF: &str = "join";
const SEND_REF: &str = "send";

/// The outcome of one step.
#[derive(Debug, Clone)]
pub struct StepReport {
    pub step: Step,
    pub took: Duration,
    pub failure: Option<StepFailure>,
}

/// Runs rounds, and remembers the room between them.
pub struct Prober {
    settings: ProbeArgs,
    credentials: Credentials,
    http: Endpoint,
    sockets: Endpoint,
    room: Option<String>,
    pub expiries: CertificateExpiries,
}

/// Runs steps within their time limit and reports each. A step that fails ends the round.
struct StepRunner<'a> {
    time_limit: Duration,
    report: &'a mut (dyn FnMut(StepReport) + Send),
}

impl StepRunner<'_> {
    async fn run<T>(
        &mut self,
        step: Step,
        work: impl Future<Output = Result<T, StepFailure>>,
    ) -> Result<T, (Step, StepFailure)> {
        self.run_from(Instant::now(), step, work).await
    }

    /// Like [`StepRunner::run`], but measures from an earlier moment.
    async fn run_from<T>(
        &mut self,
        begun: Instant,
        step: Step,
        work: impl Future<Output = Result<T, StepFailure>>,
    ) -> Result<T, (Step, StepFailure)> {
        let late = || {
            StepFailure::new(
                TIMEOUT,
                format!("the step did not end within {} ms", self.time_limit.as_millis()),
            )
        };
        let outcome = tokio::time::timeout_at((begun + self.time_limit).into(), work).await;
        let outcome = outcome.unwrap_or_else(|_| Err(late()));
        let failure = outcome.as_ref().err().cloned();
        (self.report)(StepReport { step, took: begun.elapsed(), failure });
        outcome.map_err(|failure| (step, failure))
    }
}

impl Prober {
    /// Takes the settings, which are checked before.
    pub fn new(settings: ProbeArgs) -> anyhow::Result<Self> {
        let credentials = settings.credentials().map_err(anyhow::Error::msg)?;
        let http = settings.http_endpoint().map_err(anyhow::Error::msg)?;
        let sockets = settings.ws_endpoint().map_err(anyhow::Error::msg)?;
        Ok(Self {
            settings,
            credentials,
            http,
            sockets,
            room: None,
            expiries: CertificateExpiries::default(),
        })
    }

    /// Runs one round. `report` gets each step as it ends. Returns the step that failed, and why.
    pub async fn run_round(
        &mut self,
        report: &mut (dyn FnMut(StepReport) + Send),
    ) -> Result<(), (Step, StepFailure)> {
        let time_limit = self.settings.step_timeout();
        let outcome = self.run_steps(&mut StepRunner { time_limit, report }).await;
        if outcome.is_err() {
            // The room may be gone, as after the restore of an older backup. The next round looks for it again.
            self.room = None;
        }
        outcome
    }

    async fn run_steps(&mut self, steps: &mut StepRunner<'_>) -> Result<(), (Step, StepFailure)> {
        let prepared = async {
            let config = trust::client_config(self.settings.ca_file.as_deref(), &self.expiries)
                .map_err(|why| StepFailure::new(CREDENTIALS, why))?;
            Ok((self.credentials.token()?, config))
        };
        let (token, config) = steps.run(Step::Token, prepared).await?;
        let sockets = &self.sockets;
        let url = sockets.url_of("/v1/ws");
        let host = |endpoint: &Endpoint| self.settings.connect_to.clone().unwrap_or(endpoint.host.clone());

        let addresses = steps.run(Step::Dns, connection::resolve(&host(sockets), sockets.port)).await?;
        let stream = steps.run(Step::Tcp, connection::connect(&addresses)).await?;
        let stream: Box<dyn ByteStream> = if sockets.tls {
            steps.run(Step::Tls, connection::handshake(config.clone(), sockets, stream)).await?
        } else {
            Box::new(stream)
        };
        let mut sender = steps.run(Step::WebSocket, Socket::open(&url, &token, stream)).await?;
        let opening = async {
            let stream = connection::open(&host(sockets), config.clone(), sockets).await?;
            Socket::open(&url, &token, stream).await
        };
        let mut receiver = steps.run(Step::Receiver, opening).await?;

        let request = async |method, path: &str, body: Option<&Value>| {
            let addresses = connection::resolve(&host(&self.http), self.http.port).await?;
            Http::new(&self.http, &addresses, &config, &token)?.request(method, path, body).await
        };
        let room = match &self.room {
            Some(room) => room.clone(),
            None => {
                let peer = format!("{}-peer", self.settings.user);
                let body = json!({"kind": "direct", "members": [{"user": peer}]});
                let created = request(Method::POST, "/v1/rooms", Some(&body));
                let found = async { text_of(&created.await?, "room") };
                steps.run(Step::Room, found).await?
            }
        };
        let joining = async {
            join(&mut sender, &room).await?;
            join(&mut receiver, &room).await
        };
        steps.run(Step::Join, joining).await?;

        let (begun, client_id) = (Instant::now(), Uuid::now_v7().to_string());
        let frame = json!({
            "type": "message:send", "ref": SEND_REF, "room": room, "client_id": client_id,
            "content": CONTENT, "ack": "stored",
        });
        let is_ack = |frame: &Value| frame["type"] == "ack" && frame["ref"] == SEND_REF;
        let is_message =
            |frame: &Value| frame["type"] == "message:new" && frame["client_id"] == client_id.as_str();
        let sending = async {
            sender.send(&frame).await?;
            sender.wait_for(|frame| is_ack(frame) || is_message(frame)).await
        };
        let first = steps.run_from(begun, Step::Send, sending).await?;
        let delivered = receiver.wait_for(|frame| is_message(frame));
        steps.run_from(begun, Step::Deliver, delivered).await?;
        let storing = async {
            let ack = if is_ack(&first) { first } else { sender.wait_for(|frame| is_ack(frame)).await? };
            match (ack["stage"].as_str(), ack["seq"].as_u64()) {
                (Some("stored"), Some(seq)) => Ok(seq),
                _ => Err(StepFailure::new(PROTOCOL, format!("the ack is not of the stage stored: {ack}"))),
            }
        };
        let seq = steps.run_from(begun, Step::Stored, storing).await?;

        let path = format!("/v1/rooms/{room}/messages?after={}&limit=1", seq.saturating_sub(1));
        let reading = async {
            let page = request(Method::GET, &path, None).await?;
            if page["messages"][0]["client_id"] == client_id.as_str() {
                return Ok(());
            }
            Err(StepFailure::new(PROTOCOL, format!("the page does not have the stored message {seq}")))
        };
        steps.run(Step::History, reading).await?;
        self.room = Some(room);
        Ok(())
    }
}

/// Joins a room on one connection, and waits until the connection has all events.
async fn join(socket: &mut Socket, room: &str) -> Result<(), StepFailure> {
    let frame = json!({"type": "room:join", "ref": JOIN_REF, "room": room, "presence": false});
    socket.send(&frame).await?;
    let joined = socket.wait_for(|frame| frame["type"] == "room:joined").await?;
    if let Some(code) = joined["failed"][0]["code"].as_str() {
        return Err(StepFailure::answered(code, "the room cannot be joined"));
    }
    socket.wait_for(|frame| frame["type"] == "room:caught_up").await.map(drop)
}

fn text_of(answer: &Value, field: &str) -> Result<String, StepFailure> {
    let text = answer[field].as_str().map(ToOwned::to_owned);
    text.ok_or_else(|| StepFailure::new(PROTOCOL, format!("the answer has no {field}")))
}
