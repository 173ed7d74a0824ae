//! `./dev up`: starts everything that does not run, with the ports and the numbers of nodes of the last time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::companion::Companions;
use super::detached::Detached;
use super::launch::{NODE_TIMEOUT, launch, passed_on};
use super::state::{DevNode, Server, State};
use super::{Home, companions, demo, down, environment, ports_of, redis_cluster};
use crate::node::{self, Ports, Service};
use crate::say;
use crate::{ports, postgres, redis, stack};

const DEFAULT_GATEWAYS: usize = 2;
const DEFAULT_PERSISTENCE_NODES: usize = 1;
const DATABASE_NAME: &str = "tidings";
const SERVER_TIMEOUT: Duration = Duration::from_secs(60);

/// The options of `up`; `None` means as last time.
#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    pub gateways: Option<usize>,
    /// Number of persistence nodes.
    pub persistence: Option<usize>,
    /// Companion programs to run. `None` keeps those of the last `up`.
    pub with: Option<Companions>,
    /// The first gateway's port.
    pub port: Option<u16>,
    /// Number of masters of a private Redis Cluster; 0 means a single private Redis.
    pub redis_cluster: Option<usize>,
    /// An existing Redis.
    pub redis_url: Option<String>,
    /// An existing database.
    pub database_url: Option<String>,
    /// The program of the demo's server; `None` if the demo is not built or Node.js is missing.
    pub demo: Option<PathBuf>,
    /// Whether [`build_and_add_demo`] is called later, because the demo is not built yet.
    pub demo_follows: bool,
}

/// Starts everything that does not run and returns when all of it is ready.
///
/// # Errors
/// When something does not start or a port is in use. Started processes keep running; `./dev down` stops them.
pub async fn up(home: &Home, options: &UpOptions) -> Result<State> {
    let _lock = home.lock()?;
    for (name, _) in std::env::vars().filter(|(name, _)| environment::is_ignored_setting(name)) {
        say!("{name} in the environment is ignored, because ./dev up chooses its value");
    }
    let mut state = State::load(home)?;
    if options.port.is_some_and(|port| port != state.first_port) {
        demo::stop(&mut state).await;
        companions::stop(&mut state, &BTreeSet::new()).await;
        down::stop_nodes(&mut state, 0, 0).await;
        state.first_port = options.port.unwrap_or(state.first_port);
    }
    let remembered = |count: usize, default| if count == 0 { default } else { count };
    let gateways = options.gateways.unwrap_or(remembered(state.gateways.len(), DEFAULT_GATEWAYS));
    let persistence =
        options.persistence.unwrap_or(remembered(state.persistence.len(), DEFAULT_PERSISTENCE_NODES));
    if gateways == 0 || persistence == 0 {
        bail!("at least one gateway and one persistence node are needed");
    }
    if let Some(Companions(wanted)) = &options.with {
        companions::stop(&mut state, wanted).await;
        state.companions.retain(|companion, _| wanted.contains(companion));
        for companion in wanted {
            state.companions.entry(*companion).or_default();
        }
    }
    down::stop_nodes(&mut state, gateways, persistence).await;
    state.gateways.resize_with(gateways, DevNode::default);
    state.persistence.resize_with(persistence, DevNode::default);
    state.save(home)?;

    state.redis_url = match &options.redis_url {
        Some(url) => url.clone(),
        None => start_redis(home, &mut state, options.redis_cluster).await.context("redis-server")?,
    };
    state.save(home)?;
    state.database_url = match &options.database_url {
        Some(url) => url.clone(),
        None => start_postgres(home, &mut state).await.context("postgres")?,
    };
    state.save(home)?;
    stack::migrate(&state.database_url).await?;
    say!("database     has today's tables");

    let with_demo = options.demo.is_some() || options.demo_follows;
    // The nodes of a service start together. Gateways start after persistence is ready, because they depend on it.
    for service in [Service::Persistence, Service::Gateway] {
        let count = if service == Service::Gateway { gateways } else { persistence };
        let launched: Result<Vec<()>> =
            (0..count).map(|number| launch_node(home, &mut state, service, number, with_demo)).collect();
        state.save(home)?;
        launched?;
        for number in 0..count {
            await_node(home, &state, service, number).await?;
        }
    }
    companions::start(home, &mut state, with_demo).await?;
    demo::start_or_stop(home, &mut state, options.demo.as_deref()).await?;
    Ok(state)
}

/// Builds the demo with this program, and starts it for nodes that [`up`] has started. The program prints the path of the
/// demo's server, or nothing if the demo is not available.
///
/// # Errors
/// When the program cannot be started.
pub async fn build_and_add_demo(home: &Home, program: &Path) -> Result<()> {
    say!("The demo is built now; the system can be used meanwhile.");
    let mut build = tokio::process::Command::new(program);
    build.arg("build-demo").stderr(Stdio::inherit()).kill_on_drop(true);
    let output = build.output().await.with_context(|| format!("start {}", program.display()))?;
    let printed = String::from_utf8(output.stdout)?;
    let server = Some(printed.trim()).filter(|path| !path.is_empty()).map(Path::new);
    let _lock = home.lock()?;
    let mut state = State::load(home)?;
    demo::start_or_stop(home, &mut state, server).await
}

/// Starts the private Redis, or the private cluster if it has `masters`. The other one is stopped and keeps its data.
async fn start_redis(home: &Home, state: &mut State, masters: Option<usize>) -> Result<String> {
    let masters = masters.unwrap_or(state.redis_cluster.masters);
    if masters > 0 {
        down::stop_redis(state.redis.running.take().into_iter().collect()).await;
        return redis_cluster::start(home, state, masters).await;
    }
    down::stop_redis(state.redis_cluster.take_running()).await;
    state.redis_cluster.masters = 0;
    let (data, log) = (home.redis_folder(), home.log_file("redis"));
    std::fs::create_dir_all(&data)?;
    let port = start_server(&mut state.redis, &log, |port| redis::command(&data, port))?;
    state.save(home)?;
    if let Some(running) = &state.redis.running {
        running.until_ready(SERVER_TIMEOUT, &log, || redis::answers_ping(port)).await?;
        say!("redis        127.0.0.1:{port} (pid {})", running.pid);
    }
    Ok(format!("redis://127.0.0.1:{port}"))
}

async fn start_postgres(home: &Home, state: &mut State) -> Result<String> {
    let (data, log) = (home.postgres_folder(), home.log_file("postgres"));
    if !data.exists() {
        say!("postgres     making a new cluster in {}", data.display());
        postgres::cluster::create(&data)?;
    }
    let port = start_server(&mut state.postgres, &log, |port| postgres::cluster::command(&data, port))?;
    state.save(home)?;
    if let Some(running) = &state.postgres.running {
        running.until_ready(SERVER_TIMEOUT, &log, || postgres::accepts_connections(port)).await?;
        say!("postgres     127.0.0.1:{port} (pid {})", running.pid);
    }
    let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE_NAME}'");
    let server = postgres::url(port, "postgres");
    if postgres::sql(&server, &exists).await?.is_empty() {
        postgres::sql(&server, &format!("CREATE DATABASE {DATABASE_NAME}")).await?;
    }
    Ok(postgres::url(port, DATABASE_NAME))
}

/// Starts a private server unless it runs, and returns its port: the same as before, or another one if that is in use.
fn start_server(server: &mut Server, log: &Path, command: impl Fn(u16) -> Command) -> Result<u16> {
    let alive = server.running.as_ref().is_some_and(Detached::is_alive);
    if let (true, Some(port)) = (alive, server.port) {
        return Ok(port);
    }
    let port = match server.port.filter(|port| ports::is_free(*port)) {
        Some(port) => port,
        None => ports::free()?,
    };
    server.port = Some(port);
    server.running = Some(Detached::start(&command(port), log)?);
    Ok(port)
}

/// Starts a node unless it already runs with the same settings.
fn launch_node(
    home: &Home,
    state: &mut State,
    service: Service,
    number: usize,
    with_demo: bool,
) -> Result<()> {
    let ports = ports_of(service, state.first_port, number)?;
    let settings = node_settings(state, service, ports, with_demo)?;
    let program = node::program(service.program())?;
    let nodes = if service == Service::Gateway { &mut state.gateways } else { &mut state.persistence };
    let node = nodes.get_mut(number).context("counted before")?;
    let all = [ports.public, ports.admin, ports.internal];
    let ports = if service == Service::Persistence { &all[..] } else { &all[..2] };
    launch(node, service_name(service), &program, settings, ports, &home.log_file(&log_name(service, number)))
}

async fn await_node(home: &Home, state: &State, service: Service, number: usize) -> Result<()> {
    let nodes = if service == Service::Gateway { &state.gateways } else { &state.persistence };
    let running = nodes.get(number).and_then(|node| node.running.as_ref()).context("just launched")?;
    let ports = ports_of(service, state.first_port, number)?;
    let log = home.log_file(&log_name(service, number));
    let ready = running.until_ready(NODE_TIMEOUT, &log, || node::is_ready(ports.admin)).await;
    ready.with_context(|| format!("{} on port {}", service.program(), ports.public))?;
    say!("{:<12} http://127.0.0.1:{} (pid {})", service_name(service), ports.public, running.pid);
    Ok(())
}

fn node_settings(
    state: &State,
    service: Service,
    ports: Ports,
    with_demo: bool,
) -> Result<Vec<(String, String)>> {
    let mut settings = node::listener_settings(service, ports);
    let mut add = |name: &str, value: String| settings.push((name.to_owned(), value));
    add("REDIS_URL", state.redis_url.clone());
    add("TIDINGS_JWT_SECRET", state.jwt_secret.clone());
    add("TIDINGS_INTERNAL_SECRET", state.internal_secret.clone());
    match service {
        Service::Persistence => add("DATABASE_URL", state.database_url.clone()),
        Service::Gateway => {
            let mut urls = Vec::new();
            for number in 0..state.persistence.len() {
                let ports = ports_of(Service::Persistence, state.first_port, number)?;
                urls.push(format!("http://127.0.0.1:{}", ports.internal));
            }
            add("TIDINGS_PERSISTENCE_URLS", urls.join(","));
            // Returns freed memory to the system at once: see docs/OPERATIONS.md, "Memory".
            add("MIMALLOC_PURGE_DELAY", "0".to_owned());
            // For `./dev play --client socketio`.
            add("TIDINGS_SOCKET_IO", "on".to_owned());
        }
    }
    settings.extend(passed_on(state.first_port, with_demo)?);
    Ok(settings)
}

fn service_name(service: Service) -> &'static str {
    match service {
        Service::Gateway => "gateway",
        Service::Persistence => "persistence",
    }
}

fn log_name(service: Service, number: usize) -> String {
    format!("{}-{number}", service_name(service))
}
