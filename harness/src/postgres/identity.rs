//! The user of PostgreSQL, and the paths of its programs. PostgreSQL refuses to run as root. If we are root, it runs in
//! a user namespace as user 1000 (which works in any folder, even with mode 0700), or, if the kernel forbids that, as
//! the user `nobody`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Result, ensure};

const DEBIAN: &str = "/usr/lib/postgresql/15/bin";
const NOBODY: &str = "65534";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    Ourselves,
    Namespace,
    Nobody,
}

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    if !nix::unistd::Uid::effective().is_root() {
        return Identity::Ourselves;
    }
    let mut probe = Command::new("unshare");
    probe.args(["--user", "--map-user=1000", "--map-group=1000", "true"]);
    match probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Identity::Namespace,
        _ => Identity::Nobody,
    }
});

/// A program of PostgreSQL 15: in `TIDINGS_POSTGRES_BIN`, else in Debian's folder.
pub(crate) fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("TIDINGS_POSTGRES_BIN").map_or_else(|| DEBIAN.into(), PathBuf::from);
    folder.join(name)
}

/// The command that runs a server program as a user that PostgreSQL accepts.
pub(crate) fn command(name: &str) -> Command {
    let program = program(name);
    match *IDENTITY {
        Identity::Ourselves => Command::new(program),
        Identity::Namespace => {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-user=1000", "--map-group=1000"]).arg(program);
            command
        }
        Identity::Nobody => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program);
            command
        }
    }
}

/// Gives a folder to the user of the server.
pub(crate) fn hand_over(folder: &Path) -> Result<()> {
    if *IDENTITY == Identity::Nobody {
        let owner = format!("{NOBODY}:{NOBODY}");
        let done = Command::new("chown").arg("-R").arg(owner).arg(folder).status()?;
        ensure!(done.success(), "give {} to nobody", folder.display());
    }
    Ok(())
}
