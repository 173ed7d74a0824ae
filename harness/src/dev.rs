//! The developer's local system, which `./dev` starts, shows and stops. Touches `.dev/` and the processes that it
//! started. Before it signals a process, it checks that it started this process.

pub mod companion;
mod companions;
mod demo;
pub mod detached;
pub mod down;
mod environment;
pub mod hints;
mod launch;
mod redis_cluster;
pub mod redis_move;
pub mod redis_plan;
pub mod state;
pub mod status;
pub mod up;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::node::{Ports, Service};
use crate::say;

/// The first gateway's port. Each further gateway has a port that is higher by ten. The persistence node of the same
/// number has the port after the gateway's.
pub const FIRST_PORT: u16 = 8080;
const ADMIN_PORT_OFFSET: u16 = 10_000;
const INTERNAL_PORT_OFFSET: u16 = 20_000;

/// The folder `.dev`, which holds the state, the data and the logs.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// Uses `folder`, and creates it if it does not exist.
    pub fn new(folder: &Path) -> Result<Home> {
        std::fs::create_dir_all(folder.join("logs")).with_context(|| format!("make {}", folder.display()))?;
        Ok(Home(folder.canonicalize()?))
    }

    fn state_file(&self) -> PathBuf {
        self.0.join("state.json")
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(format!("{name}.log"))
    }

    fn redis_folder(&self) -> PathBuf {
        self.0.join("redis")
    }

    fn redis_cluster_folder(&self) -> PathBuf {
        self.0.join("redis-cluster")
    }

    fn files_folder(&self) -> PathBuf {
        self.0.join("files")
    }

    fn postgres_folder(&self) -> PathBuf {
        self.0.join("postgres")
    }

    /// Takes the lock that allows only one `up`, `down` or `reset` at a time; dropping the file releases it.
    pub fn lock(&self) -> Result<File> {
        let file = File::create(self.0.join("lock"))?;
        if file.try_lock().is_err() {
            say!("waiting for another ./dev to finish");
            file.lock()?;
        }
        Ok(file)
    }
}

/// The ports of the node with this number; `first` is the first gateway's port.
fn ports_of(service: Service, first: u16, number: usize) -> Result<Ports> {
    let step = u16::try_from(number * 10).context("too many nodes")?;
    let own = if service == Service::Persistence { 1 } else { 0 };
    let public = first.checked_add(step + own).context("the port is too high")?;
    let internal = public.checked_add(INTERNAL_PORT_OFFSET).context("choose a --port below 45000")?;
    Ok(Ports { public, admin: public + ADMIN_PORT_OFFSET, internal })
}
