//! A client that uses only the dialect of a server.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use tidings_bench::dialect::{Beginning, Step, fill};
use tidings_bench::peers::Running;
use tidings_harness::Token;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, http::HeaderName};
use tokio_tungstenite::{WebSocketStream, client_async};

const PATIENCE: Duration = Duration::from_secs(10);

pub struct Speaker<'a> {
    running: &'a Running,
    socket: WebSocketStream<TcpStream>,
    user: String,
    token: String,
    room: String,
    /// Payloads that came while another one was awaited.
    aside: Vec<String>,
    /// Payloads of the last frame that are not read yet.
    lines: VecDeque<String>,
    next_ref: u32,
}

impl<'a> Speaker<'a> {
    /// Connects to a node and joins the room.
    pub async fn join(running: &'a Running, node: usize, user: &str, room: &str) -> Result<Speaker<'a>> {
        let token = Token::of(user).sign(&running.jwt_secret);
        Self::join_with(running, node, user, room, token).await
    }

    pub async fn join_with(
        running: &'a Running,
        node: usize,
        user: &str,
        room: &str,
        token: String,
    ) -> Result<Speaker<'a>> {
        let dialect = &running.dialect;
        let values = [("token", token.as_str()), ("user", user), ("room", room)];
        let address = running.nodes[node];
        let mut request = format!("ws://{address}{}", fill(&dialect.path, &values)).into_client_request()?;
        for (name, value) in &dialect.headers {
            request
                .headers_mut()
                .insert(HeaderName::from_bytes(name.as_bytes())?, fill(value, &values).parse()?);
        }
        let (socket, _) = client_async(request, TcpStream::connect(address).await?).await?;
        let (user, room) = (user.to_owned(), room.to_owned());
        let (aside, lines) = (Vec::new(), VecDeque::new());
        let mut speaker = Speaker { running, socket, user, token, room, aside, lines, next_ref: 1 };
        for step in dialect.hello.iter().chain(&dialect.join) {
            speaker.step(step).await?;
        }
        Ok(speaker)
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        if let Some(send) = &step.send {
            self.say(send, &[]).await?;
        }
        self.awaited(&step.until).await?;
        Ok(())
    }

    /// Sends a template; returns its reference number.
    pub async fn say(&mut self, template: &str, values: &[(&str, &str)]) -> Result<u32> {
        let reference = self.next_ref;
        self.next_ref += 1;
        let mut all = vec![("token", self.token.as_str()), ("user", &self.user), ("room", &self.room)];
        all.extend_from_slice(values);
        let number = reference.to_string();
        all.push(("ref", &number));
        self.socket.send(Message::text(fill(template, &all))).await?;
        Ok(reference)
    }

    /// Sends a message and waits for its ack.
    pub async fn send(&mut self, client_id: &str, text: &str) -> Result<String> {
        let dialect = &self.running.dialect;
        let reference = self.say(&dialect.send, &[("client_id", client_id), ("text", text)]).await?;
        let ack = dialect.ack.as_ref().context("it has no ack")?;
        let wanted = Some(u64::from(reference));
        self.find(&format!("ack {reference}"), |payload| ack.reference(payload.as_bytes()) == wanted).await
    }

    /// The next delivered message.
    pub async fn delivery(&mut self) -> Result<String> {
        self.awaited(&self.running.dialect.delivery).await
    }

    /// The next payload with this beginning; others are kept for later. Errors fail it, unless an error is awaited.
    pub async fn until(&mut self, begins: &str) -> Result<String> {
        self.awaited(&begins.into()).await
    }

    pub async fn awaited(&mut self, begins: &Beginning) -> Result<String> {
        self.find(&String::from(begins.clone()), |payload| begins.matches(payload.as_bytes())).await
    }

    async fn find(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> Result<String> {
        if let Some(place) = self.aside.iter().position(|payload| is_it(payload)) {
            return Ok(self.aside.remove(place));
        }
        loop {
            let payload = self.next().await.with_context(|| format!("waited for {what}"))?;
            if is_it(&payload) {
                return Ok(payload);
            }
            if self.running.dialect.errors.iter().any(|error| error.matches(payload.as_bytes())) {
                bail!("{payload} instead of {what}");
            }
            self.aside.push(payload);
        }
    }

    /// Whether no delivery comes for a moment.
    pub async fn is_spared(&mut self) -> bool {
        let moment = tokio::time::timeout(Duration::from_millis(300), self.delivery());
        moment.await.is_err()
    }

    async fn next(&mut self) -> Result<String> {
        loop {
            if let Some(payload) = self.lines.pop_front() {
                return Ok(payload);
            }
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.context("nothing came")?;
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
