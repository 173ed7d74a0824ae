//! An Engine.IO echo server on the gateway's transport, for the test suite of the Engine.IO protocol, whose times and
//! limits it has. To run it: `cargo run --release -p tidings-gateway --example engineio_echo -- 3000`

use std::{io, net::IpAddr, net::TcpListener, time::Duration};

use clap::Parser;
use tidings_gateway::transport::{
    Acceptor, Connection, EngineConfig, Frame, HandshakeRequest, Refusal, Session, SessionIdKeys,
    TransportConfig, serve,
};

/// Maximum size of a message and of the body of a request, in bytes.
const MAX_PAYLOAD_BYTES: usize = 1_000_000;

/// Above this many queued bytes, the peer is not read until it has read its answers.
const HIGH_WATER_BYTES: usize = 1024 * 1024;

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
        // The server accepts any path, so a peer may also open a WebSocket without Engine.IO.
        let packet_type = if self.connection.is_engine() { "4" } else { "" };
        self.echo(Frame::text_for_one(format!("{packet_type}{text}")));
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
    let mut config = TransportConfig::new(TcpListener::bind((arguments.host, arguments.port))?);
    config.max_message_bytes = MAX_PAYLOAD_BYTES;
    config.outbox_bytes = 4 * MAX_PAYLOAD_BYTES;
    config.frame_rate = None;
    config.engine = Some(EngineConfig {
        path: "/engine.io/".to_owned(),
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        max_payload: MAX_PAYLOAD_BYTES,
        // A server for tests, whose sessions hold nothing that must be protected.
        keys: SessionIdKeys::new(&[[0; 32]]),
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
