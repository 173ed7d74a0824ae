//! Starts a node or a program with the settings of `up` and those of the developer's environment. Touches one child and its
//! log.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::detached::Detached;
use super::state::DevNode;
use super::{demo, environment};
use crate::{node, ports, say};

/// How long a node or a program may take until it is ready.
pub(super) const NODE_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a process unless it already runs with the same settings. The first of `ports` is its public one.
pub(super) fn launch(
    node: &mut DevNode,
    name: &str,
    program: &Path,
    settings: Vec<(String, String)>,
    ports: &[u16],
    log: &Path,
) -> Result<()> {
    if let Some(running) = node.running.as_ref().filter(|running| running.is_alive()) {
        if node.settings == settings {
            return Ok(());
        }
        say!("{name:<12} {} is started anew with other settings", ports[0]);
        running.signal(Signal::SIGKILL);
        while running.is_alive() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    for port in ports {
        if !ports::is_free(*port) {
            bail!(
                "port {port} of 127.0.0.1 is taken by another program (see `ss -ltnp sport = :{port}`): \
                 stop that, or choose others with ./dev up --port N"
            );
        }
    }
    let mut command = Command::new(program);
    node::set_environment(&mut command, &settings);
    node.running = Some(Detached::start(&command, log)?);
    node.settings = settings;
    Ok(())
}

/// The settings in the developer's environment, with the origins of the demo.
pub(super) fn passed_on(first_port: u16, with_demo: bool) -> Result<Vec<(String, String)>> {
    let passed = std::env::vars().filter(|(name, _)| environment::is_passed_on(name));
    let with_origins = |(name, value): (String, String)| {
        let value = match with_demo && name == demo::ALLOWED_ORIGINS {
            true => demo::add_demo_origins(&value, first_port)?,
            false => value,
        };
        Ok((name, value))
    };
    passed.map(with_origins).collect()
}
