//! The program behind `./dev play`: plays conversations through the running system and prints the comparison.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use tidings_harness::Nodes;
use tidings_harness::dev::Home;
use tidings_harness::dev::status::Status;
use tidings_harness::play::kit::Kit;
use tidings_harness::play::player::Players;
use tidings_harness::play::run::{self, PlayOptions, Progress, Speed};
use tidings_harness::play::transcript;
use tidings_harness::say;
use tidings_harness::socket_io::SocketIoTransport;

/// Plays real conversations through the running system and checks every copy of every message.
#[derive(Parser)]
#[command(name = "play", bin_name = "./dev play")]
struct Arguments {
    /// Transcripts: JSON lines {at_ms, room, user, event: message|join|leave, text?}.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A multiple of the original speed, or max: as fast as the limits allow.
    #[arg(long, default_value = "max", value_parser = parse_speed)]
    speed: Speed,
    /// Additional members of each room, who only listen.
    #[arg(long, default_value_t = 2)]
    observers: usize,
    /// Which client plays.
    #[arg(long, value_enum, default_value_t = PlayClient::Harness)]
    client: PlayClient,
    /// The program that runs the clients of the TypeScript kit.
    #[arg(long, default_value = "clients/ts/play/player.mjs", hide = true)]
    player: PathBuf,
    /// Also write the JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Play through the system that this file describes (the JSON of ./dev status). Default: the system of ./dev.
    #[arg(long)]
    stack: Option<PathBuf>,
    #[arg(long, env = "TIDINGS_DEV_DIR", default_value = ".dev", hide = true)]
    folder: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PlayClient {
    /// The client of this harness, written from the protocol page.
    Harness,
    /// The TypeScript kit.
    Ts,
    /// The client of this harness over Socket.IO, which the gateways must serve.
    #[value(name = "socketio")]
    SocketIo,
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err("a number above 0, or max".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json.clone();
    match play(arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("play: {error:#}");
            // Replaces the figures of an earlier run.
            let report = serde_json::json!({ "error": format!("{error:#}") });
            if let Some(file) = json
                && let Err(error) = std::fs::write(&file, format!("{report}\n"))
            {
                eprintln!("play: write {}: {error}", file.display());
            }
            ExitCode::FAILURE
        }
    }
}

async fn play(arguments: Arguments) -> Result<bool> {
    if let Some(file) = &arguments.json {
        // An unwritable file is reported now and not after the run.
        std::fs::write(file, "").with_context(|| format!("write {}", file.display()))?;
    }
    let conversations = transcript::read(&arguments.files)?;
    ensure!(!conversations.is_empty(), "there is nothing in these files");
    let status = match &arguments.stack {
        Some(file) => serde_json::from_str(&std::fs::read_to_string(file)?)
            .with_context(|| format!("{} is not the JSON of ./dev status", file.display()))?,
        None => Status::read(&Home::new(&arguments.folder)?)?,
    };
    let nodes = Nodes {
        gateways: status.gateways.into_iter().map(|node| node.ws).collect(),
        socket_io: (arguments.client == PlayClient::SocketIo).then_some(SocketIoTransport::WebSocket),
        persistence: status.persistence.into_iter().map(|node| node.url).collect(),
        jwt_secret: status.jwt_secret,
        http: tidings_harness::http::client(),
    };
    ensure!(!nodes.gateways.is_empty() && !nodes.persistence.is_empty(), "no nodes to play through");
    let options = PlayOptions::new(arguments.speed, arguments.observers);
    let players = match arguments.client {
        PlayClient::Harness | PlayClient::SocketIo => Players::Harness,
        PlayClient::Ts => Players::Kit(Arc::new(Kit::start(&arguments.player).await?)),
    };
    let (report, verdict) =
        run::play_with(players, conversations, options, nodes, &Progress::default()).await?;
    for what in &verdict.descriptions {
        eprintln!("play: {what}");
    }
    if verdict.others > 0 {
        eprintln!("play: {} promises were broken beside the four counts", verdict.others);
    }
    let json = serde_json::to_string(&report)?;
    if let Some(file) = &arguments.json {
        std::fs::write(file, format!("{json}\n"))?;
    }
    say!("{json}");
    Ok(verdict.is_clean())
}
