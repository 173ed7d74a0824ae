//! The environment of a run: the machine, and the versions of everything that was measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::peers::install::centrifuge;

/// Debian's folder of PostgreSQL, which is not in the `PATH`.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// Collects the environment; `peers` is the folder with the `package.json` and the installed packages of the npm
/// servers.
#[must_use]
pub fn machine(peers: Option<&Path>) -> BTreeMap<String, String> {
    let postgres = std::env::var_os("TIDINGS_POSTGRES_BIN").map_or_else(|| POSTGRES.into(), PathBuf::from);
    let read = |path: &str| fs::read_to_string(path).ok();
    let found = [
        ("date", Some(chrono::Utc::now().format("%Y-%m-%d").to_string())),
        ("processor", read("/proc/cpuinfo").and_then(|text| field(&text, "model name"))),
        ("cores", std::thread::available_parallelism().ok().map(|count| count.to_string())),
        ("memory", read("/proc/meminfo").and_then(|text| memory(&text))),
        ("kernel", read("/proc/sys/kernel/osrelease").map(|text| format!("Linux {}", text.trim()))),
        ("Tidings", Some(tidings())),
        ("rustc", says("rustc".as_ref())),
        ("Redis", says("redis-server".as_ref()).and_then(|text| word(&text, "v="))),
        ("PostgreSQL", says(&postgres.join("postgres"))),
        ("Node.js", says("node".as_ref())),
    ];
    let mut machine: BTreeMap<String, String> =
        found.into_iter().filter_map(|(what, which)| Some((what.to_owned(), which?))).collect();
    machine.extend(peers.map(packages).unwrap_or_default());
    machine.extend(centrifuge::versions());
    machine
}

/// The commit that was built, if the caller has set it.
fn tidings() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match std::env::var("TIDINGS_COMMIT") {
        Ok(commit) if !commit.is_empty() => format!("{version}, commit {commit}"),
        _ => version.to_owned(),
    }
}

/// The first line of a program's version.
fn says(program: &Path) -> Option<String> {
    let output =
        Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

fn field(text: &str, name: &str) -> Option<String> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(named, _)| named.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn word(text: &str, prefix: &str) -> Option<String> {
    text.split_whitespace().find_map(|word| word.strip_prefix(prefix)).map(str::to_owned)
}

fn memory(meminfo: &str) -> Option<String> {
    let kib: f64 = field(meminfo, "MemTotal")?.trim_end_matches("kB").trim().parse().ok()?;
    Some(format!("{:.1} GiB", kib / 1024.0 / 1024.0))
}

/// The installed versions of the required packages.
fn packages(peers: &Path) -> BTreeMap<String, String> {
    let read =
        |path: PathBuf| -> Option<Value> { serde_json::from_str(&fs::read_to_string(path).ok()?).ok() };
    let wanted = read(peers.join("package.json")).unwrap_or_default();
    let names = wanted["dependencies"].as_object().into_iter().flatten().map(|(name, _)| name);
    names
        .filter_map(|name| {
            let installed = read(peers.join("node_modules").join(name).join("package.json"))?;
            Some((format!("{name} (npm)"), installed["version"].as_str()?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_is_reported_with_its_installed_version() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("package.json", r#"{"dependencies": {"socket.io": "^4.0.0", "absent": "1"}}"#);
        write("node_modules/socket.io/package.json", r#"{"version": "4.8.1"}"#);
        let machine = machine(Some(folder.path()));
        assert_eq!(machine.get("socket.io (npm)").map(String::as_str), Some("4.8.1"));
        assert!(!machine.contains_key("absent (npm)"), "{machine:?}");
        for what in ["date", "cores", "memory", "kernel", "Tidings"] {
            assert!(machine.get(what).is_some_and(|which| !which.is_empty()), "{what}: {machine:?}");
        }
    }

    #[test]
    fn memory_is_reported_in_gibibytes() {
        assert_eq!(memory("MemTotal:       25165824 kB\nMemFree: 1 kB").as_deref(), Some("24.0 GiB"));
    }
}
