//! The environment of a run: the machine, and the versions of everything that was measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::peers::install::centrifuge;

/// The folder of PostgreSQL's programs on Debian, which is not in the `PATH`. `TIDINGS_POSTGRES_BIN` replaces it.
const DEBIAN_POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// Collects the environment. `peers` is the folder of the Node.js servers, with their installed packages.
#[must_use]
pub fn collect_environment(peers: Option<&Path>) -> BTreeMap<String, String> {
    let postgres =
        std::env::var_os("TIDINGS_POSTGRES_BIN").map_or_else(|| DEBIAN_POSTGRES_BIN.into(), PathBuf::from);
    let read = |path: &str| fs::read_to_string(path).ok();
    let found = [
        ("date", Some(chrono::Utc::now().format("%Y-%m-%d").to_string())),
        ("processor", read("/proc/cpuinfo").and_then(|text| field_value(&text, "model name"))),
        ("cores", std::thread::available_parallelism().ok().map(|count| count.to_string())),
        ("memory", read("/proc/meminfo").and_then(|text| memory_size(&text))),
        ("kernel", read("/proc/sys/kernel/osrelease").map(|text| format!("Linux {}", text.trim()))),
        ("Tidings", Some(tidings_version())),
        ("rustc", version_line("rustc".as_ref())),
        ("Redis", version_line("redis-server".as_ref()).and_then(|text| word_with_prefix(&text, "v="))),
        ("PostgreSQL", version_line(&postgres.join("postgres"))),
        ("Node.js", version_line("node".as_ref())),
    ];
    let mut machine: BTreeMap<String, String> =
        found.into_iter().filter_map(|(what, which)| Some((what.to_owned(), which?))).collect();
    machine.extend(peers.map(package_versions).unwrap_or_default());
    machine.extend(centrifuge::versions());
    machine
}

/// The version of Tidings, with the commit that was built if `TIDINGS_COMMIT` names one.
fn tidings_version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match std::env::var("TIDINGS_COMMIT") {
        Ok(commit) if !commit.is_empty() => format!("{version}, commit {commit}"),
        _ => version.to_owned(),
    }
}

/// The first line that a program prints for `--version`.
fn version_line(program: &Path) -> Option<String> {
    let output =
        Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

fn field_value(text: &str, name: &str) -> Option<String> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(named, _)| named.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn word_with_prefix(text: &str, prefix: &str) -> Option<String> {
    text.split_whitespace().find_map(|word| word.strip_prefix(prefix)).map(str::to_owned)
}

fn memory_size(meminfo: &str) -> Option<String> {
    let kib: f64 = field_value(meminfo, "MemTotal")?.trim_end_matches("kB").trim().parse().ok()?;
    Some(format!("{:.1} GiB", kib / 1024.0 / 1024.0))
}

/// The installed versions of the required packages.
fn package_versions(peers: &Path) -> BTreeMap<String, String> {
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
        let machine = collect_environment(Some(folder.path()));
        assert_eq!(machine.get("socket.io (npm)").map(String::as_str), Some("4.8.1"));
        assert!(!machine.contains_key("absent (npm)"), "{machine:?}");
        for what in ["date", "cores", "memory", "kernel", "Tidings"] {
            assert!(machine.get(what).is_some_and(|which| !which.is_empty()), "{what}: {machine:?}");
        }
    }

    #[test]
    fn memory_is_reported_in_gibibytes() {
        assert_eq!(memory_size("MemTotal:       25165824 kB\nMemFree: 1 kB").as_deref(), Some("24.0 GiB"));
    }
}
