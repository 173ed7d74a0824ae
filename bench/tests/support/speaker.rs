//! A client that can speak any server's protocol: it knows only the server's dialect.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use tidings_bench::dialect::{PayloadPrefix, Step, fill_template};
use tidings_bench::peers::RunningServer;
use tidings_harness::Token;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, http::HeaderName};
use tokio_tungstenite::{WebSocketStream, client_async};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Speaker<'a> {
    running: &'a RunningServer,
    socket: WebSocketStream<TcpStream>,
    user: String,
    token: String,
    room: String,
    /// Payloads that came while the client waited for another one.
    deferred: Vec<String>,
    /// Payloads of the last frame that were not handled yet.
    lines: VecDeque<String>,
    next_ref: u32,
}

impl<'a> Speaker<'a> {
    /// Connects to a node and joins the room.
    pub async fn join(
        running: &'a RunningServer,
        node: usize,
        user: &str,
        room: &str,
    ) -> Result<Speaker<'a>> {
        let token = Token::of(user).sign(&running.jwt_secret);
        Self::join_with(running, node, user, room, token).await
    }

    pub async fn join_with(
        running: &'a RunningServer,
        node: usize,
        user: &str,
        room: &str,
        token: String,
    ) -> Result<Speaker<'a>> {
        let dialect = &running.dialect;
        let values = [("token", token.as_str()), ("user", user), ("room", room)];
        let address = running.nodes[node];
        let mut request =
            format!("ws://{address}{}", fill_template(&dialect.path, &values)).into_client_request()?;
        for (name, value) in &dialect.headers {
            request
                .headers_mut()
                .insert(HeaderName::from_bytes(name.as_bytes())?, fill_template(value, &values).parse()?);
        }
        let (socket, _) = client_async(request, TcpStream::connect(address).await?).await?;
        let (user, room) = (user.to_owned(), room.to_owned());
        let (deferred, lines) = (Vec::new(), VecDeque::new());
        let mut speaker = Speaker { running, socket, user, token, room, deferred, lines, next_ref: 1 };
        for step in dialect.hello.iter().chain(&dialect.join) {
            speaker.run_step(step).await?;
        }
        Ok(speaker)
    }

    async fn run_step(&mut self, step: &Step) -> Result<()> {
        if let Some(send) = &step.send {
            self.send_template(send, &[]).await?;
        }
        self.wait_for(&step.until).await?;
        Ok(())
    }

    /// Fills a template and sends it. Returns the reference number of the frame.
    pub async fn send_template(&mut self, template: &str, values: &[(&str, &str)]) -> Result<u32> {
        let reference = self.next_ref;
        self.next_ref += 1;
        let mut all = vec![("token", self.token.as_str()), ("user", &self.user), ("room", &self.room)];
        all.extend_from_slice(values);
        let number = reference.to_string();
        all.push(("ref", &number));
        self.socket.send(Message::text(fill_template(template, &all))).await?;
        Ok(reference)
    }

    /// Sends a message and waits for its ack.
    pub async fn send(&mut self, client_id: &str, text: &str) -> Result<String> {
        let dialect = &self.running.dialect;
        let reference =
            self.send_template(&dialect.send, &[("client_id", client_id), ("text", text)]).await?;
        let ack = dialect.ack.as_ref().context("it has no ack")?;
        let wanted = Some(u64::from(reference));
        self.wait_for_match(&format!("ack {reference}"), |payload| {
            ack.reference(payload.as_bytes()) == wanted
        })
        .await
    }

    /// The next delivered message.
    pub async fn delivery(&mut self) -> Result<String> {
        self.wait_for(&self.running.dialect.delivery).await
    }

    /// Waits for the next payload with this prefix, and keeps other payloads for later. Fails at an error payload that
    /// does not match.
    pub async fn wait_for_prefix(&mut self, begins: &str) -> Result<String> {
        self.wait_for(&begins.into()).await
    }

    pub async fn wait_for(&mut self, begins: &PayloadPrefix) -> Result<String> {
        self.wait_for_match(&String::from(begins.clone()), |payload| begins.matches(payload.as_bytes())).await
    }

    async fn wait_for_match(&mut self, what: &str, matches: impl Fn(&str) -> bool) -> Result<String> {
        if let Some(index) = self.deferred.iter().position(|payload| matches(payload)) {
            return Ok(self.deferred.remove(index));
        }
        loop {
            let payload = self.next_payload().await.with_context(|| format!("waited for {what}"))?;
            if matches(&payload) {
                return Ok(payload);
            }
            if self.running.dialect.errors.iter().any(|error| error.matches(payload.as_bytes())) {
                bail!("{payload} instead of {what}");
            }
            self.deferred.push(payload);
        }
    }

    /// Waits 300 ms. Returns whether no delivery came in this time.
    pub async fn receives_nothing(&mut self) -> bool {
        let moment = tokio::time::timeout(Duration::from_millis(300), self.delivery());
        moment.await.is_err()
    }

    async fn next_payload(&mut self) -> Result<String> {
        loop {
            if let Some(payload) = self.lines.pop_front() {
                return Ok(payload);
            }
            let message =
                tokio::time::timeout(WAIT_TIMEOUT, self.socket.next()).await.context("nothing came")?;
            match message.context("closed")?? {
                Message::Text(text) if self.running.dialect.lines => {
                    self.lines.extend(text.lines().map(str::to_owned));
                }
                Message::Text(text) => return Ok(text.as_str().to_owned()),
                Message::Close(_) => bail!("closed"),
                _ => {}
            }
        }
    }
}
