//! A Socket.IO echo server on the gateway's transport, for the protocol's conformance suite. Clients connect to `/` and
//! `/custom`, and get the event `auth` with what they sent. `message` is answered by `message-back` with the same
//! arguments; `message-with-ack` is acked with its arguments. Binary data is echoed too. To run it: `cargo run
//! --release -p tidings-gateway --example socketio_echo -- 3000`

use std::{
    io,
    net::{IpAddr, TcpListener},
    time::Duration,
};

use clap::Parser;
use serde_json::value::RawValue;
use tidings_gateway::{
    socket_io::packet::{PacketKind, SocketIoPacket, append_header, decode},
    transport::{
        Acceptor, Connection, EngineConfig, Frame, HandshakeRequest, Refusal, Session, SessionIdKeys,
        TransportConfig, close_code, serve,
    },
};

const NAMESPACES: [&str; 2] = ["/", "/custom"];
// The times of the conformance suite.
const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_millis(200);
/// A client that sends no CONNECT packet in this time is closed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Above this many queued bytes, the peer is not read until it has read its answers.
const HIGH_WATER_BYTES: usize = 1024 * 1024;
const MAX_MESSAGE_BYTES: usize = 1_000_000;

#[derive(Parser)]
struct Arguments {
    /// Port to listen on.
    #[arg(default_value_t = 3000)]
    port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Threads. Default: the number of cores.
    #[arg(long)]
    workers: Option<usize>,
}

struct Echo;

impl Acceptor for Echo {
    type Session = EchoSession;
    type Ticket = ();

    async fn accept(&self, _: HandshakeRequest) -> Result<(), Refusal> {
        Ok(())
    }

    fn open(&self, (): (), connection: Connection) -> EchoSession {
        connection.set_deadline(Some(CONNECT_TIMEOUT));
        EchoSession { connection, connected: Vec::new(), answer: None }
    }
}

/// An answer whose attachments have not all arrived.
struct BinaryAnswer {
    packet: Frame,
    attachments: Vec<Frame>,
    missing: usize,
}

struct EchoSession {
    connection: Connection,
    /// The namespaces to which the client is connected.
    connected: Vec<&'static str>,
    answer: Option<BinaryAnswer>,
}

/// Encodes a packet whose JSON is this text.
fn encode(kind: PacketKind, attachments: usize, namespace: &str, id: Option<u64>, json: &str) -> Frame {
    let mut packet: Vec<u8> = Vec::new();
    append_header(&mut packet, kind, attachments, namespace, id);
    packet.extend_from_slice(json.as_bytes());
    Frame::text_for_one(packet)
}

/// The arguments of an event behind its name, as JSON without brackets.
fn join_arguments(arguments: &[&RawValue]) -> String {
    arguments.iter().map(|argument| argument.get()).collect::<Vec<_>>().join(",")
}

impl EchoSession {
    fn send(&self, frame: Frame) {
        self.connection.send(frame);
        if self.connection.queued_bytes() > HIGH_WATER_BYTES {
            self.connection.pause_reading();
            self.connection.notify_drained();
        }
    }

    fn close(&self) {
        self.connection.close(close_code::PROTOCOL_ERROR, "invalid packet");
    }

    fn connect(&mut self, packet: &SocketIoPacket<'_>) {
        let name = packet.namespace;
        let Some(namespace) = NAMESPACES.into_iter().find(|namespace| *namespace == name) else {
            let error = r#"{"message":"Invalid namespace"}"#;
            self.send(encode(PacketKind::ConnectError, 0, name, None, error));
            return;
        };
        if self.connected.contains(&namespace) {
            self.close();
            return;
        }
        self.connection.set_deadline(None);
        self.connected.push(namespace);
        let sid = format!(r#"{{"sid":"{}{namespace}"}}"#, self.connection.id());
        self.send(encode(PacketKind::Connect, 0, name, None, &sid));
        let auth = format!(r#"["auth",{}]"#, packet.data.map_or("{}", RawValue::get));
        self.send(encode(PacketKind::Event, 0, name, None, &auth));
    }

    /// The answer to an event; `None` for other events than the two that are answered.
    fn answer_to(packet: &SocketIoPacket<'_>) -> Option<Frame> {
        let (name, arguments) = packet.arguments.split_first()?;
        let arguments = join_arguments(arguments);
        let binary = packet.kind.is_binary();
        let (kind, id, json) = match (name.get(), packet.id) {
            (r#""message""#, _) => {
                let separator = if arguments.is_empty() { "" } else { "," };
                let kind = if binary { PacketKind::BinaryEvent } else { PacketKind::Event };
                (kind, None, format!(r#"["message-back"{separator}{arguments}]"#))
            }
            (r#""message-with-ack""#, Some(id)) => {
                let kind = if binary { PacketKind::BinaryAck } else { PacketKind::Ack };
                (kind, Some(id), format!("[{arguments}]"))
            }
            _ => return None,
        };
        Some(encode(kind, packet.attachments, packet.namespace, id, &json))
    }

    fn on_event(&mut self, packet: &SocketIoPacket<'_>) {
        if !self.connected.contains(&packet.namespace) {
            self.close();
            return;
        }
        let answer = Self::answer_to(packet);
        if packet.attachments == 0 {
            answer.into_iter().for_each(|answer| self.send(answer));
        } else if let Some(packet_frame) = answer {
            let missing = packet.attachments;
            self.answer = Some(BinaryAnswer { packet: packet_frame, attachments: Vec::new(), missing });
        } else {
            // This server answers every event with attachments.
            self.close();
        }
    }
}

impl Session for EchoSession {
    fn on_text(&mut self, text: &str) {
        let Ok(packet) = decode(text) else { return self.close() };
        match packet.kind {
            _ if self.answer.is_some() => self.close(),
            PacketKind::Connect => self.connect(&packet),
            PacketKind::Disconnect => self.connected.retain(|namespace| *namespace != packet.namespace),
            PacketKind::Event | PacketKind::BinaryEvent => self.on_event(&packet),
            PacketKind::Ack => {}
            PacketKind::BinaryAck | PacketKind::ConnectError => self.close(),
        }
    }

    fn on_binary(&mut self, bytes: &[u8]) {
        let Some(mut answer) = self.answer.take() else { return self.close() };
        answer.attachments.push(Frame::binary(bytes));
        answer.missing -= 1;
        if answer.missing > 0 {
            self.answer = Some(answer);
            return;
        }
        self.send(answer.packet);
        answer.attachments.into_iter().for_each(|attachment| self.send(attachment));
    }

    fn on_drained(&mut self) {
        self.connection.resume_reading();
    }

    fn on_deadline(&mut self) {
        self.connection.close(close_code::NORMAL, "no CONNECT packet in time");
    }

    fn on_draining(&mut self, _: Duration) {}

    fn on_overstayed(&mut self) {}

    fn on_closed(&mut self, _: u16) {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut config = TransportConfig::new(TcpListener::bind((arguments.host, arguments.port))?);
    config.max_message_bytes = MAX_MESSAGE_BYTES;
    config.outbox_bytes = 16 * MAX_MESSAGE_BYTES;
    config.frame_rate = None;
    config.engine = Some(EngineConfig {
        path: "/socket.io/".to_owned(),
        ping_interval: PING_INTERVAL,
        ping_timeout: PING_TIMEOUT,
        max_payload: MAX_MESSAGE_BYTES,
        keys: SessionIdKeys::new(&[[7; 32]]),
        nodes: None,
    });
    if let Some(workers) = arguments.workers {
        config.workers = workers;
    }
    let server = serve(config, |_| Echo, |_, _| {})?;
    println!("listening on {}", server.address());
    tokio::signal::ctrl_c().await?;
    server.stop(1001, "going away", Duration::from_secs(5)).await
}
