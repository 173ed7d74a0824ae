//! The data folder of a private PostgreSQL: initdb, its settings, and a template that tests copy, because initdb takes
//! nearly a second. A template is complete or absent, because it is renamed into place.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{ROLE, identity};

/// Must be incremented when the settings below change, so that old templates are not used.
const TEMPLATE_VERSION: u32 = 1;

const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
dynamic_shared_memory_type = mmap
timezone = 'UTC'
log_timezone = 'UTC'
";

/// Tests kill processes and never the machine, so data in the kernel are safe. Commits stay synchronous, so that a
/// killed server loses nothing that it acknowledged.
const TEST_SETTINGS: &str = "
fsync = off
full_page_writes = off
";

/// Restores durability; the last of several equal settings applies.
pub(crate) const DURABLE: &str = "
fsync = on
full_page_writes = on
";

const ACCESS: &str = "host all all 127.0.0.1/32 trust\n";

/// Creates a cluster in `data` with PostgreSQL's default, durable settings; completely or not at all.
pub(crate) fn create(data: &Path) -> Result<()> {
    let draft = data.with_extension("new");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    initdb(&draft, &[], "")?;
    fs::rename(draft, data).context("move the new cluster into place")
}

/// Copies the template of tests to `data`, and adds settings. Creates the template if there is none.
pub(crate) fn copy_for_tests(data: &Path, settings: &str) -> Result<()> {
    let template = template()?;
    if !template.exists() {
        let parent = template.parent().context("the template has no parent")?;
        fs::create_dir_all(parent)?;
        let draft = tempfile::Builder::new().prefix("initdb-").tempdir_in(parent)?;
        fs::set_permissions(draft.path(), fs::Permissions::from_mode(0o755))?;
        let cluster = draft.path().join("cluster");
        initdb(&cluster, &["--no-sync"], TEST_SETTINGS)?;
        // Another test process may have been faster; its template is equivalent.
        if let Err(error) = fs::rename(&cluster, &template) {
            ensure!(template.exists(), "move the template into place: {error}");
        }
    }
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(data).status()?;
    ensure!(copied.success(), "copy {} to {}", template.display(), data.display());
    fs::OpenOptions::new().append(true).open(data.join("postgresql.conf"))?.write_all(settings.as_bytes())?;
    identity::hand_over(data)
}

/// The command line of a server on `data`.
pub(crate) fn command(data: &Path, port: u16) -> Command {
    let mut command = identity::command("postgres");
    command.current_dir("/").arg("-D").arg(data).args(["-p", &port.to_string()]);
    command
}

fn template() -> Result<PathBuf> {
    let uid = nix::unistd::Uid::effective();
    let name = format!("postgres-15-template-{TEMPLATE_VERSION}-{uid}");
    Ok(crate::folder::target()?.join("tidings-harness").join(name))
}

fn initdb(data: &Path, options: &[&str], settings: &str) -> Result<()> {
    let program = identity::program("initdb");
    ensure!(program.exists(), "{} is missing: install postgresql-15 (./dev up does it)", program.display());
    // Created here, because the user of PostgreSQL may not write into the parent folder.
    fs::create_dir_all(data)?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o700))?;
    identity::hand_over(data)?;
    let done = identity::command("initdb")
        .current_dir("/")
        .args(options)
        .args(["--no-instructions", "-E", "UTF8", "--locale=C", "-A", "trust", "-U", ROLE, "-D"])
        .arg(data)
        .stdin(Stdio::null())
        .output()
        .context("run initdb")?;
    ensure!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr).trim());
    let mut file = fs::OpenOptions::new().append(true).open(data.join("postgresql.conf"))?;
    file.write_all(SETTINGS.as_bytes())?;
    file.write_all(settings.as_bytes())?;
    fs::write(data.join("pg_hba.conf"), ACCESS)?;
    Ok(())
}
