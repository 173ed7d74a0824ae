//! Starts a system for tests in other languages, describes it in one line, and obeys commands from stdin (see
//! `tidings_harness::steered`).

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tidings_harness::Stack;
use tidings_harness::files::FilesNode;
use tidings_harness::postgres::Postgres;
use tidings_harness::push::PushNode;
use tidings_harness::stack::{create_template, for_a_run, set_feed};
use tidings_harness::steered::{self, SteeredSystem};
use tokio::sync::mpsc;

/// Starts a whole system, prints its addresses as one line of JSON, and runs commands until stdin ends.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1)]
    gateways: usize,
    #[arg(long, default_value_t = 1)]
    persistence: usize,
    /// A setting of every gateway, NAME=VALUE.
    #[arg(long, value_parser = parse_setting)]
    gateway_env: Vec<(String, String)>,
    /// A setting of every persistence node, NAME=VALUE.
    #[arg(long, value_parser = parse_setting)]
    persistence_env: Vec<(String, String)>,
    /// Starts only a PostgreSQL, for all tests of a test run. Prints its port, and ends when stdin ends.
    #[arg(long)]
    postgres_alone: bool,
    /// As a setup script of nextest: starts the system that the tests of the run share.
    #[arg(long)]
    shared: bool,
    /// The background process of `--shared`. It ends with this process, PID:TIME.
    #[arg(long, hide = true)]
    shared_until_end_of: Option<for_a_run::Owner>,
    /// Clients connect through proxies, which can simulate network faults.
    #[arg(long)]
    proxied: bool,
    /// Also start the files service.
    #[arg(long)]
    files: bool,
    /// Also turn on the feed and start `tidings-push`, and allow push endpoints on this machine.
    #[arg(long)]
    push: bool,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    if arguments.postgres_alone {
        let server = Postgres::start_for_a_run().await?;
        create_template(&server).await?;
        println!("{}", server.port());
        let mut lines = lines_of_stdin();
        while lines.recv().await.is_some() {}
        return Ok(());
    }
    if arguments.shared {
        return for_a_run::start();
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    if let Some(owner) = &arguments.shared_until_end_of {
        return tokio::select! {
            ran = for_a_run::run_until_end_of(owner) => ran,
            _ = terminate.recv() => Ok(()),
        };
    }
    // A command may kill PostgreSQL, so the stack must not use the PostgreSQL that other tests share.
    let builder = Stack::builder().own_postgres();
    let mut builder = builder.gateways(arguments.gateways).persistence(arguments.persistence);
    if arguments.proxied {
        builder = builder.proxied();
    }
    for (name, value) in &arguments.gateway_env {
        builder = builder.gateway_env(name, value);
    }
    for (name, value) in &arguments.persistence_env {
        builder = builder.persistence_env(name, value);
    }
    let steering = async {
        let stack = builder.start().await?;
        let files = match arguments.files {
            true => Some(FilesNode::start(&stack, "files", &[]).await?),
            false => None,
        };
        let push = match arguments.push {
            true => {
                set_feed(stack.database().url(), true).await?;
                Some(PushNode::start(&stack, "push", &[]).await?)
            }
            false => None,
        };
        let mut out = std::io::stdout();
        steered::run_orders(SteeredSystem { stack, files, push }, lines_of_stdin(), &mut out).await
    };
    tokio::select! {
        steered = steering => steered,
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// The lines of stdin. A separate thread reads them until the program ends.
fn lines_of_stdin() -> mpsc::UnboundedReceiver<String> {
    let (lines, incoming) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
    });
    incoming
}
