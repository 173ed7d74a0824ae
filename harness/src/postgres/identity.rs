//! Who PostgreSQL runs as, and where its programs are. It refuses to run as root: as root it gets a user
//! namespace in which we are user 1000 (works in any folder, even 0700 ones), or, where the kernel
//! forbids that, the user `nobody`.

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

/// A program of PostgreSQL 15: from `TIDINGS_POSTGRES_BIN`, else where Debian puts it.
pub(crate) fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("TIDINGS_POSTGRES_BIN").map_or_else(|| DEBIAN.into(), PathBuf::from);
    folder.join(name)
}

/// The command that runs a server program as somebody PostgreSQL accepts.
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

/// Gives a folder to whoever the server runs as.
pub(crate) fn hand_over(folder: &Path) -> Result<()> {
    if *IDENTITY == Identity::Nobody {
        let owner = format!("{NOBODY}:{NOBODY}");
        let done = Command::new("chown").arg("-R").arg(owner).arg(folder).status()?;
        ensure!(done.success(), "give {} to nobody", folder.display());
    }
    Ok(())
}
