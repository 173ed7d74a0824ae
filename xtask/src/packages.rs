//! Debian packages that the commands need. The script `dev` installs them, or unpacks them without root rights.

use std::path::Path;

use crate::context::Context;
use crate::process::{Outcome, run};

/// A program, and the Debian package that provides it.
pub type ProgramPackage = (&'static str, &'static str);

/// The servers that every system has.
const SERVERS: [ProgramPackage; 2] = [("redis-server", "redis-server"), ("curl", "curl")];
const POSTGRES: &str = "postgresql-15";

/// Installs the servers that every system needs.
///
/// # Errors
/// When one is missing and cannot be installed.
pub fn need_servers(context: &mut Context) -> Outcome {
    let mut missing = missing(context, &SERVERS);
    let installed = Path::new("/usr/lib/postgresql/15/bin/postgres").exists();
    if !installed && context.variable("TIDINGS_POSTGRES_BIN").is_none() {
        missing.push(POSTGRES);
    }
    install(context, &missing)
}

/// Installs the packages of these programs that are missing.
///
/// # Errors
/// When one cannot be installed.
pub fn need(context: &mut Context, packages: &[ProgramPackage]) -> Outcome {
    let missing = missing(context, packages);
    install(context, &missing)
}

/// Debian puts some servers into a folder that is only in root's path.
fn missing(context: &Context, packages: &[ProgramPackage]) -> Vec<&'static str> {
    let here = |program: &str| context.has(program) || Path::new("/usr/sbin").join(program).exists();
    packages.iter().filter(|(program, _)| !here(program)).map(|(_, package)| *package).collect()
}

/// Installs packages of these names.
///
/// # Errors
/// When one cannot be installed.
pub fn install(context: &mut Context, packages: &[&str]) -> Outcome {
    if packages.is_empty() {
        return Ok(());
    }
    run(context.command(context.root.join("dev")).arg("install-packages").args(packages))
        .map_err(|error| format!("please install {}: {error}", packages.join(" ")))?;
    context.use_unpacked_packages();
    Ok(())
}
