//! An echo server on the gateway's transport, for conformance suites and load tools. It accepts any path, and slows
//! down a peer that sends without reading. To run it: `cargo run --release -p tidings-gateway --example echo --
//! --listen 127.0.0.1:9001`

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use clap::Parser;
use tidings_gateway::transport::{
    Acceptor, Connection, Frame, HandshakeRequest, Refusal, Session, TransportConfig, serve,
};

/// Maximum message size, in bytes: larger than any message of the conformance suites.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// Above this many queued bytes, the peer is not read until it has read its answers.
const HIGH_WATER_BYTES: usize = 1024 * 1024;

#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// Threads. Default: the number of cores.
    #[arg(long)]
    workers: Option<usize>,
    /// Time between pings, in milliseconds.
    #[arg(long, default_value_t = 25_000)]
    heartbeat_ms: u64,
}

struct Echo;

impl Acceptor for Echo {
    type Session = EchoSession;
    type Ticket = ();

    async fn accept(&self, _: HandshakeRequest) -> Result<(), Refusal> {
        Ok(())
    }

    fn open(&self, (): (), connection: Connection) -> EchoSession {
        EchoSession { connection }
    }
}

struct EchoSession {
    connection: Connection,
}

impl EchoSession {
    fn echo(&self, frame: Frame) {
        self.connection.send(frame);
        if self.connection.queued_bytes() > HIGH_WATER_BYTES {
            self.connection.pause_reading();
            self.connection.notify_drained();
        }
    }
}

impl Session for EchoSession {
    fn on_text(&mut self, text: &str) {
        self.echo(Frame::text_for_one(text));
    }

    fn on_binary(&mut self, bytes: &[u8]) {
        self.echo(Frame::binary(bytes));
    }

    fn on_drained(&mut self) {
        self.connection.resume_reading();
    }

    fn on_deadline(&mut self) {}

    fn on_draining(&mut self, _: Duration) {}

    fn on_overstayed(&mut self) {}

    fn on_closed(&mut self, _: u16) {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut config = TransportConfig::new(TcpListener::bind(arguments.listen)?);
    config.accept_binary = true;
    config.max_message_bytes = MAX_MESSAGE_BYTES;
    config.outbox_bytes = 2 * MAX_MESSAGE_BYTES;
    config.frame_rate = None;
    config.heartbeat = Duration::from_millis(arguments.heartbeat_ms);
    if let Some(workers) = arguments.workers {
        config.workers = workers;
    }
    let server = serve(config, |_| Echo, |_, _| {})?;
    println!("listening on {}", server.address());
    tokio::signal::ctrl_c().await?;
    server.stop(1001, "going away", Duration::from_secs(5)).await
}
