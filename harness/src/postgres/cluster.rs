//! The data folder of a private PostgreSQL: initdb, its settings, and a template that tests copy, because initdb takes
//! nearly a second. A template is complete or absent, because it is renamed into place.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{ROLE, identity};

/// Part of the template's path. Increment it when the settings below change, so that old templates are not used.
const TEMPLATE_VERSION: u32 = 2;

const SERVER_SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
dynamic_shared_memory_type = mmap
timezone = 'UTC'
log_timezone = 'UTC'
";

/// `fsync` is off because tests kill processes and never the machine: written data are safe in the kernel. Commits stay
/// synchronous, so a killed server loses nothing that it acknowledged.
const TEST_SETTINGS: &str = "
fsync = off
full_page_writes = off
";

/// Switches durability on again. Of a setting that occurs twice in `postgresql.conf`, the last one applies.
pub(crate) const DURABLE_SETTINGS: &str = "
fsync = on
full_page_writes = on
";

const HBA_RULES: &str = "host all,replication all 127.0.0.1/32 trust\n";

/// Creates a cluster in `data` with PostgreSQL's default, durable settings. After an error, `data` does not exist.
pub(crate) fn create(data: &Path) -> Result<()> {
    let draft = data.with_extension("new");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    initdb(&draft, &[], "")?;
    fs::rename(draft, data).context("move the new cluster into place")
}

/// Copies the template cluster for tests to `data`, and appends `settings` to its `postgresql.conf`. Creates the
/// template cluster if it does not exist.
pub(crate) fn copy_for_tests(data: &Path, settings: &str) -> Result<()> {
    let template = template_path()?;
    if !template.exists() {
        let parent = template.parent().context("the template has no parent")?;
        fs::create_dir_all(parent)?;
        let draft = tempfile::Builder::new().prefix("initdb-").tempdir_in(parent)?;
        fs::set_permissions(draft.path(), fs::Permissions::from_mode(0o755))?;
        let cluster = draft.path().join("cluster");
        initdb(&cluster, &["--no-sync"], TEST_SETTINGS)?;
        // Another test process may have created the template meanwhile. It is equivalent.
        if let Err(error) = fs::rename(&cluster, &template) {
            ensure!(template.exists(), "move the template into place: {error}");
        }
    }
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(data).status()?;
    ensure!(copied.success(), "copy {} to {}", template.display(), data.display());
    fs::OpenOptions::new().append(true).open(data.join("postgresql.conf"))?.write_all(settings.as_bytes())?;
    identity::give_to_server_user(data)
}

/// The command that starts a server with this data folder.
pub(crate) fn command(data: &Path, port: u16) -> Command {
    let mut command = identity::command("postgres");
    command.current_dir("/").arg("-D").arg(data).args(["-p", &port.to_string()]);
    command
}

fn template_path() -> Result<PathBuf> {
    let uid = nix::unistd::Uid::effective();
    let name = format!("postgres-15-template-{TEMPLATE_VERSION}-{uid}");
    Ok(crate::folder::build_folder()?.join("tidings-harness").join(name))
}

fn initdb(data: &Path, options: &[&str], settings: &str) -> Result<()> {
    let program = identity::program("initdb");
    ensure!(program.exists(), "{} is missing: install postgresql-15 (./dev up does it)", program.display());
    // PostgreSQL's user may not create the folder itself, because it may have no access to the parent folder.
    fs::create_dir_all(data)?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o700))?;
    identity::give_to_server_user(data)?;
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
    file.write_all(SERVER_SETTINGS.as_bytes())?;
    file.write_all(settings.as_bytes())?;
    fs::write(data.join("pg_hba.conf"), HBA_RULES)?;
    Ok(())
}
