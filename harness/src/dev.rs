//! The developer's local system, which `./dev` starts, shows and stops. Touches `.dev/` and the processes it started;
//! each process is checked to be really ours before it is signalled.

mod demo;
pub mod detached;
pub mod down;
pub mod hints;
pub mod state;
pub mod status;
pub mod up;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::node::{Ports, Service};
use crate::say;

/// The first gateway's port; the others follow in steps of ten, persistence one above each.
pub const FIRST_PORT: u16 = 8080;
const ADMIN_OFFSET: u16 = 10_000;
const INTERNAL_OFFSET: u16 = 20_000;

/// The folder `.dev`.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// Uses `folder`, and creates it if it does not exist.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(folder: &Path) -> Result<Home> {
        std::fs::create_dir_all(folder.join("logs")).with_context(|| format!("make {}", folder.display()))?;
        Ok(Home(folder.canonicalize()?))
    }

    fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(format!("{name}.log"))
    }

    fn redis(&self) -> PathBuf {
        self.0.join("redis")
    }

    fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }

    /// Takes the lock that allows only one `up`, `down` or `reset` at a time; dropping the file releases it.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn lock(&self) -> Result<File> {
        let file = File::create(self.0.join("lock"))?;
        if file.try_lock().is_err() {
            say!("waiting for another ./dev to finish");
            file.lock()?;
        }
        Ok(file)
    }
}

/// The ports of a node by its number.
fn ports_of(service: Service, first: u16, number: usize) -> Result<Ports> {
    let step = u16::try_from(number * 10).context("too many nodes")?;
    let own = if service == Service::Persistence { 1 } else { 0 };
    let public = first.checked_add(step + own).context("the port is too high")?;
    let internal = public.checked_add(INTERNAL_OFFSET).context("choose a --port below 45000")?;
    Ok(Ports { public, admin: public + ADMIN_OFFSET, internal })
}
