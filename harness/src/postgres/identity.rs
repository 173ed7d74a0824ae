//! The user of PostgreSQL, and the paths of its programs. PostgreSQL refuses to run as root. If this process is root,
//! PostgreSQL runs as user 1000 in a user namespace, which works in any folder, even with mode 0700. If the kernel
//! forbids user namespaces, PostgreSQL runs as the user `nobody`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Result, ensure};

const DEBIAN_PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const NOBODY_ID: &str = "65534";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    CurrentUser,
    Namespace,
    Nobody,
}

static SERVER_IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    if !nix::unistd::Uid::effective().is_root() {
        return Identity::CurrentUser;
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
    let folder =
        std::env::var_os("TIDINGS_POSTGRES_BIN").map_or_else(|| DEBIAN_PROGRAMS.into(), PathBuf::from);
    folder.join(name)
}

/// The command that runs a server program as a user that PostgreSQL accepts.
pub(crate) fn command(name: &str) -> Command {
    let program = program(name);
    match *SERVER_IDENTITY {
        Identity::CurrentUser => Command::new(program),
        Identity::Namespace => {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-user=1000", "--map-group=1000"]).arg(program);
            command
        }
        Identity::Nobody => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NOBODY_ID, "--regid", NOBODY_ID, "--clear-groups"]).arg(program);
            command
        }
    }
}

/// Makes the server's user the owner of a folder.
pub(crate) fn give_to_server_user(folder: &Path) -> Result<()> {
    if *SERVER_IDENTITY == Identity::Nobody {
        let owner = format!("{NOBODY_ID}:{NOBODY_ID}");
        let done = Command::new("chown").arg("-R").arg(owner).arg(folder).status()?;
        ensure!(done.success(), "give {} to nobody", folder.display());
    }
    Ok(())
}
