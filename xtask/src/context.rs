//! What every command needs to know: the folders of the checkout, and the environment of the programs that it starts.
//! Programs that are installed during a command are added to this environment, not to that of the process.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folders of the checkout, and the variables of child processes.
pub struct Context {
    /// The checkout.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// The installed tools, by version. They are in the target folder, so that checkouts that share it share them too.
    pub tools: PathBuf,
    /// `TIDINGS_DEV_DIR`: state, data and logs.
    pub state: PathBuf,
    /// `TIDINGS_BIN_DIR`: the folder from which commands take their programs. When it is set, only `./dev test` builds
    /// Rust code; builds of npm are not affected.
    pub programs: Option<PathBuf>,
    variables: BTreeMap<String, OsString>,
}

impl Context {
    /// Reads the variables that the script `dev` sets, and adds unpacked packages to the path.
    ///
    /// # Errors
    /// When the program was not started by the script.
    pub fn from_environment() -> Result<Context, String> {
        let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let started_by_hand =
            || "TIDINGS_ROOT or TIDINGS_DEV_DIR is not set; run ./dev, which sets them".to_owned();
        let root = folder("TIDINGS_ROOT").ok_or_else(started_by_hand)?;
        let target = folder("CARGO_TARGET_DIR").unwrap_or_else(|| root.join("target"));
        let mut context = Context {
            tools: target.join("tools"),
            state: folder("TIDINGS_DEV_DIR").ok_or_else(started_by_hand)?,
            programs: folder("TIDINGS_BIN_DIR"),
            root,
            target,
            variables: BTreeMap::new(),
        };
        context.use_unpacked_packages();
        Ok(context)
    }

    /// A command in the checkout, with the variables of this context.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).envs(&self.variables);
        command
    }

    /// Sets a variable of the programs that are started from now on.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// Takes back what [`Context::set`] did.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// A variable of child processes.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned().or_else(|| env::var_os(name)).filter(|value| !value.is_empty())
    }

    /// Searches programs in this folder first.
    pub fn prepend_path(&mut self, folder: &Path) {
        self.prepend("PATH", &[folder.to_owned()]);
    }

    /// The path of a program, which may be a name or a path.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        if program.contains('/') {
            return Some(PathBuf::from(program)).filter(|path| is_executable(path));
        }
        let path = self.variable("PATH")?;
        env::split_paths(&path).map(|folder| folder.join(program)).find(|path| is_executable(path))
    }

    /// Whether a program is in the path.
    pub fn has(&self, program: &str) -> bool {
        self.find(program).is_some()
    }

    /// Uses the packages that the script unpacked into the tools folder, because it could not install them.
    pub fn use_unpacked_packages(&mut self) {
        let unpacked = self.tools.join("usr");
        if !unpacked.is_dir() {
            return;
        }
        self.prepend("PATH", &[unpacked.join("bin"), unpacked.join("sbin")]);
        let libraries = unpacked.join("lib").join(format!("{}-linux-gnu", env::consts::ARCH));
        self.prepend("LD_LIBRARY_PATH", &[libraries]);
        let postgres = unpacked.join("lib/postgresql/15/bin");
        if is_executable(&postgres.join("postgres")) {
            self.set("TIDINGS_POSTGRES_BIN", postgres);
        }
        let valgrind = unpacked.join("libexec/valgrind");
        if valgrind.is_dir() {
            self.set("VALGRIND_LIB", valgrind);
        }
    }

    fn prepend(&mut self, name: &str, folders: &[PathBuf]) {
        let present = self.variable(name).unwrap_or_default();
        // An empty variable is one empty folder, which the loader reads as the current one.
        let is_wanted = |folder: &PathBuf| !folder.as_os_str().is_empty() && !folders.contains(folder);
        let rest = env::split_paths(&present).filter(is_wanted);
        let joined = env::join_paths(folders.iter().cloned().chain(rest));
        self.set(name, joined.unwrap_or(present.clone()));
    }
}

/// Whether a file exists and may be executed.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
