//! The server under test: each session executes the commands in its peer's texts, and reports its events.

use std::{cell::RefCell, net::SocketAddr, net::TcpListener, rc::Rc, sync::Arc, time::Duration};

use actix_web::{HttpResponse, http::StatusCode, web};
use tidings_gateway::transport::{
    Acceptor, Connection, Counters, Frame, HandshakeRequest, Refusal, Server, Session, TransportConfig, serve,
};
use tokio::{
    sync::Semaphore,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{spawn_local, yield_now},
    time::sleep,
};

use crate::client::{Client, within_timeout};

/// `!banner` answers with this text forty times, in one frame that all connections of all workers share.
pub const BANNER: &str = "the same words for everybody, ";

/// A server with one worker, and the reports of its sessions.
pub struct Fixture {
    pub server: Server,
    /// Each permit accepts one handshake with `?wait`.
    pub gate: Arc<Semaphore>,
    reports: UnboundedReceiver<String>,
}

impl Fixture {
    pub fn start() -> Fixture {
        Fixture::start_with(|_| {})
    }

    pub fn start_with(adjust: impl FnOnce(&mut TransportConfig)) -> Fixture {
        let mut config = TransportConfig::new(TcpListener::bind("127.0.0.1:0").unwrap());
        config.workers = 1;
        config.websocket_path = Some("/ws".to_owned());
        // Tests send as fast as they can. Tests of the frame rate set their own limit.
        config.frame_rate = None;
        adjust(&mut config);
        let (report, reports) = unbounded_channel();
        let banner = Frame::text(BANNER.repeat(40));
        let gate = Arc::new(Semaphore::new(0));
        let acceptor_gate = Arc::clone(&gate);
        let server = serve(
            config,
            move |_| TestAcceptor {
                report: report.clone(),
                gate: Arc::clone(&acceptor_gate),
                connections: Rc::default(),
                banner: banner.clone(),
            },
            |acceptor, routes| {
                let connections = Rc::clone(&acceptor.connections);
                let count = move || {
                    let count = connections.borrow().len().to_string();
                    async move { HttpResponse::Ok().body(count) }
                };
                routes.route("/count", web::get().to(count));
            },
        );
        Fixture { server: server.unwrap(), gate, reports }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub async fn client(&self) -> Client {
        Client::open(self.address()).await
    }

    /// The next report of a session.
    pub async fn next_report(&mut self) -> String {
        within_timeout("a report of a session", self.reports.recv()).await.unwrap()
    }

    /// Stops the server, which must end before its wait is over, and returns the remaining reports.
    pub async fn stop(mut self) -> (Arc<Counters>, Vec<String>) {
        let counters = Arc::clone(self.server.counters());
        within_timeout("the stop", self.server.stop(1001, "going away", Duration::from_secs(60)))
            .await
            .unwrap();
        let mut reports = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            reports.push(report);
        }
        (counters, reports)
    }
}

/// Text that compresses to a little less than half.
pub fn noise(length: usize) -> String {
    let mut state = 1u32;
    let digit = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_digit(state >> 28, 16).unwrap()
    };
    (0..length).map(digit).collect()
}

/// State shared by the sessions of the worker.
struct TestAcceptor {
    report: UnboundedSender<String>,
    gate: Arc<Semaphore>,
    connections: Rc<RefCell<Vec<Connection>>>,
    banner: Frame,
}

impl Acceptor for TestAcceptor {
    type Session = TestSession;
    type Ticket = String;

    async fn accept(&self, request: HandshakeRequest) -> Result<String, Refusal> {
        yield_now().await;
        match request.query() {
            Some("refuse") => Err(Refusal::new(StatusCode::UNAUTHORIZED, "text/plain", "a token is needed")),
            Some("wait") => {
                let _ = self.report.send("handshake waits".to_owned());
                self.gate.acquire().await.unwrap().forget();
                Ok(String::new())
            }
            // The query of an Engine.IO handshake has other parameters, so its session sends no greeting.
            _ if request.is_engine() => Ok(String::new()),
            query => Ok(query.unwrap_or_default().to_owned()),
        }
    }

    fn open(&self, greeting: String, connection: Connection) -> TestSession {
        if !greeting.is_empty() {
            connection.send(Frame::text(&greeting));
        }
        self.connections.borrow_mut().push(connection.clone());
        TestSession {
            connection,
            report: self.report.clone(),
            connections: Rc::clone(&self.connections),
            banner: self.banner.clone(),
            to_pull: 0,
            stays_open: false,
        }
    }
}

struct TestSession {
    connection: Connection,
    report: UnboundedSender<String>,
    connections: Rc<RefCell<Vec<Connection>>>,
    banner: Frame,
    to_pull: usize,
    stays_open: bool,
}

impl TestSession {
    fn report(&self, what: impl Into<String>) {
        let _ = self.report.send(what.into());
    }

    /// A text for this session's peer. Engine.IO needs a packet type.
    fn text(&self, text: &str) -> Frame {
        let packet_type = if self.connection.is_engine() { "4" } else { "" };
        Frame::text_for_one(format!("{packet_type}{text}"))
    }

    /// Sends until 64 KiB are queued. `on_drained` continues.
    fn pull(&mut self) {
        while self.to_pull > 0 && self.connection.queued_bytes() < 64 * 1024 {
            self.connection.send(self.text(&format!("{:010000}", self.to_pull)));
            self.to_pull -= 1;
        }
    }
}

/// Sends a shared frame. If the connection does not take it, waits 5 ms.
async fn send_or_wait(connection: &Connection, frame: &Frame) {
    if connection.send_shared(frame) {
        yield_now().await;
    } else {
        sleep(Duration::from_millis(5)).await;
    }
}

impl Session for TestSession {
    fn on_text(&mut self, text: &str) {
        let connection = self.connection.clone();
        let (command, argument) = text.split_once(' ').unwrap_or((text, ""));
        match command {
            "!close" => {
                for number in 1..=3 {
                    connection.send(self.text(&format!("last {number}")));
                }
                connection.close(argument.parse().unwrap(), "as requested");
                connection.send(Frame::text("too late"));
            }
            "!flood" => {
                let frame = Frame::text(vec![b'x'; 16 * 1024]);
                let frame = if argument == "immediate" { frame.to_immediate() } else { frame };
                let is_shared = argument != "own";
                spawn_local(async move {
                    while !connection.is_closed() {
                        if !is_shared {
                            connection.send(frame.clone());
                        }
                        send_or_wait(&connection, &frame).await;
                    }
                });
            }
            "!immediate" => {
                let count: usize = argument.parse().unwrap();
                spawn_local(async move {
                    for number in 1..=count {
                        while connection.queued_bytes() > 64 * 1024 {
                            sleep(Duration::from_millis(1)).await;
                        }
                        let frame = Frame::text(format!("{number:08192}"));
                        // Two frames are written at once, the third is queued.
                        let frame = if number % 3 == 0 { frame } else { frame.to_immediate() };
                        assert!(connection.send_shared(&frame));
                        if number % 7 == 0 {
                            yield_now().await;
                        }
                    }
                });
            }
            "!pull" => {
                self.to_pull = argument.parse().unwrap();
                self.pull();
            }
            "!all" => {
                for other in self.connections.borrow().iter() {
                    other.send(Frame::text(argument));
                }
            }
            "!share" => {
                let frame = Frame::text(argument);
                for other in self.connections.borrow().iter() {
                    assert!(other.send_shared(&frame));
                }
            }
            "!banner" => assert!(connection.send_shared(&self.banner)),
            "!noise" => {
                let frame = Frame::text(noise(16 * 1024));
                spawn_local(async move {
                    while !connection.is_closed() {
                        send_or_wait(&connection, &frame).await;
                    }
                });
            }
            "!pause" => {
                connection.pause_reading();
                let report = self.report.clone();
                let pause = Duration::from_millis(argument.parse().unwrap());
                spawn_local(async move {
                    sleep(pause).await;
                    let _ = report.send("resumed".to_owned());
                    connection.resume_reading();
                });
            }
            "!deadline" => {
                connection.set_deadline(argument.parse().ok().map(Duration::from_millis));
            }
            "!panic" => panic!("panic requested by the test"),
            "!owe" => self.stays_open = true,
            "!note" => self.report(argument),
            _ => connection.send(self.text(text)),
        }
    }

    fn on_binary(&mut self, bytes: &[u8]) {
        self.connection.send(Frame::binary(bytes));
    }

    fn on_drained(&mut self) {
        self.pull();
    }

    fn on_deadline(&mut self) {
        self.report("deadline");
        self.connection.send(Frame::text("deadline"));
    }

    fn on_draining(&mut self, leave_after: Duration) {
        self.connection.send(self.text(&format!("leave after {}", leave_after.as_millis())));
    }

    fn on_overstayed(&mut self) {
        if !self.stays_open {
            self.connection.close(1012, "overstayed");
        }
    }

    fn on_closed(&mut self, code: u16) {
        assert!(self.connection.is_closed());
        self.connections.borrow_mut().retain(|other| other.id() != self.connection.id());
        self.report(format!("closed {code}"));
    }
}
