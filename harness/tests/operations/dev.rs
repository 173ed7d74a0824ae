//! `tidings-dev`, which `./dev` calls: it starts everything, restarts dead processes on their ports, and stops all that
//! it started.

use std::path::Path;
use std::process::{Command, Output};

use crate::base::free_base;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::json;
use tidings_harness::dev::status::Status;
use tidings_harness::folder::Folder;
use tidings_harness::{Http, Token};

/// A separate developer system, removed when the value is dropped.
struct DevSystem(Folder);

impl DevSystem {
    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(&[], arguments)
    }

    fn run_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tidings-dev"))
            .envs(settings.iter().copied())
            .arg("--folder")
            .arg(self.0.path().join(".dev"))
            .args(arguments)
            .env_remove("REDIS_URL")
            .env_remove("DATABASE_URL")
            .output()
            .unwrap()
    }

    fn run_successfully(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn status(&self) -> Status {
        serde_json::from_str(&self.run_successfully(&["status", "--json"])).unwrap()
    }
}

impl Drop for DevSystem {
    fn drop(&mut self) {
        self.run(&["reset"]);
    }
}

fn kill_and_wait(pid: u32) {
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    // On a busy machine it takes a moment until the process is gone.
    for _ in 0..1000 {
        if !is_alive(pid) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{pid} is still there");
}

/// Whether the process runs, or has ended with threads that still hold its ports. A killed process has no command line
/// from the moment in which its memory is given back, which is before it has ended; so its state is what counts.
fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = |name| status.lines().find_map(|line: &str| line.strip_prefix(name)).map(str::trim);
    let ended = value("State:").is_none_or(|state| state.starts_with(['Z', 'X']));
    !ended || value("Threads:").is_some_and(|count| count != "0" && count != "1")
}

#[test]
fn up_restarts_dead_processes_on_same_ports_and_down_stops_all() {
    let dev = DevSystem(Folder::new().unwrap());
    let base = free_base().to_string();
    let output = dev.run_successfully(&["up", "--detach", "--gateways", "2", "--port", &base]);
    assert!(output.contains("curl") && output.contains("TOKEN="), "{output}");

    let before = dev.status();
    assert_eq!((before.gateways.len(), before.persistence.len()), (2, 1));
    assert_eq!(before.gateways[0].ws, format!("ws://127.0.0.1:{base}/v1/ws"));
    kill_and_wait(before.gateways[0].pid.unwrap());
    kill_and_wait(before.redis_pid.unwrap());
    let between = dev.status();
    assert_eq!((between.gateways[0].pid, between.redis_pid), (None, None));

    dev.run_successfully(&["up", "--detach"]);
    let after = dev.status();
    assert_eq!(after.redis_url, before.redis_url);
    assert_eq!(after.gateways[0].url, before.gateways[0].url);
    assert!(after.gateways[0].pid.is_some() && after.gateways[0].pid != before.gateways[0].pid);
    assert_eq!(after.gateways[1], before.gateways[1]);
    assert_eq!(after.postgres_pid, before.postgres_pid);

    dev.run_successfully(&["down"]);
    let pids =
        after.gateways.iter().map(|node| node.pid).chain(after.persistence.iter().map(|node| node.pid));
    for pid in pids.chain([after.redis_pid, after.postgres_pid]) {
        assert!(!is_alive(pid.unwrap()));
    }
    assert_eq!(dev.status().gateways.len(), 2, "the number of gateways is remembered");
}

#[test]
fn up_passes_settings_on_except_those_that_it_chooses() {
    let dev = DevSystem(Folder::new().unwrap());
    let base = free_base().to_string();
    let passed = ["TIDINGS_DRAIN_MS=1234", "TIDINGS_USERS=required"];
    let chosen = "TIDINGS_LISTEN=127.0.0.1:1";
    let settings = [passed[0], passed[1], chosen].map(|setting| setting.split_once('=').unwrap());
    let up = ["up", "--detach", "--gateways", "1", "--port", &base];
    let output = dev.run_with(&settings, &up);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("TIDINGS_LISTEN in the environment is ignored"), "{printed}");
    let status = dev.status();
    for pid in [status.gateways[0].pid.unwrap(), status.persistence[0].pid.unwrap()] {
        let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        let variables: Vec<&str> = environment.split('\0').collect();
        assert!(passed.iter().all(|setting| variables.contains(setting)), "{variables:?}");
        assert!(!variables.contains(&chosen), "{variables:?}");
    }
}

#[test]
fn redis_cluster_keeps_its_data_after_down_and_up() {
    let dev = DevSystem(Folder::new().unwrap());
    let base = free_base().to_string();
    let (up, port) =
        (["up", "--detach", "--redis-cluster", "3"], ["--gateways", "1", "--port", base.as_str()]);
    dev.run_successfully(&[up, port].concat());
    let before = dev.status();
    assert_eq!((before.redis_nodes.len(), before.redis_pid), (6, None));
    assert!(before.redis_url.starts_with("redis+cluster://127.0.0.1:"), "{}", before.redis_url);
    let plan = dev.run_successfully(&["redis", "plan"]);
    assert_eq!(plan.lines().count(), 3, "three masters and no moves: {plan}");
    dev.run_successfully(&["redis", "move"]);
    let run_at_owner = |command: &[&str]| {
        let port = before.redis_nodes[0].address.rsplit_once(':').unwrap().1;
        let output = Command::new("redis-cli").args(["-c", "-p", port]).args(command).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(run_at_owner(&["SET", "{07}:kept", "yes"]), "OK");

    dev.run_successfully(&["down"]);
    for node in &before.redis_nodes {
        assert!(!is_alive(node.pid.unwrap()));
    }
    dev.run_successfully(&["up", "--detach"]);
    assert_eq!(run_at_owner(&["GET", "{07}:kept"]), "yes");
    let after = dev.status();
    let addresses = |status: &Status| -> Vec<String> {
        status.redis_nodes.iter().map(|node| node.address.clone()).collect()
    };
    assert_eq!(addresses(&after), addresses(&before));

    // The single Redis takes over, and the cluster is stopped.
    dev.run_successfully(&["up", "--detach", "--redis-cluster", "0"]);
    let single = dev.status();
    assert!(single.redis_nodes.is_empty() && single.redis_pid.is_some());
    assert!(after.redis_nodes.iter().all(|node| !is_alive(node.pid.unwrap())));
}

#[tokio::test]
async fn companions_are_started_and_remembered_until_others_are_named() {
    let dev = DevSystem(Folder::new().unwrap());
    let base = free_base();
    let port = base.to_string();
    let up = ["up", "--detach", "--gateways", "1", "--port", &port];
    dev.run_successfully(&[&up[..], &["--with", "files,push,webhooks"]].concat());
    let status = dev.status();
    let state = std::fs::read_to_string(dev.0.path().join(".dev/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let secret = state["jwt_secret"].as_str().unwrap();
    let (alice, admin) = (Token::of("alice"), Token::of("alice").scope("tidings.admin"));
    let token = alice.sign(secret);
    let room = Http::new(&status.persistence[0].url, &token).new_room(&[]).await.unwrap();
    let upload = format!("/rooms/{room}/files");
    let requests = [
        (
            Method::POST,
            upload.as_str(),
            Some(json!({ "name": "a.txt", "media_type": "text/plain", "size": 1, "sha256": "0".repeat(64) })),
            201,
        ),
        (Method::GET, "/push/key", None, 200),
        (Method::POST, "/webhooks", Some(json!({ "url": "http://127.0.0.1:9/hook" })), 201),
    ];
    assert_eq!(status.companions.len(), requests.len());
    for (companion, (method, path, body, wanted)) in status.companions.iter().zip(requests) {
        let token = if path == "/webhooks" { admin.clone().sign(secret) } else { token.clone() };
        let answer = Http::new(&companion.url, &token).request(method, path, body).await.unwrap();
        assert_eq!(answer.status, wanted, "{companion:?}: {}", answer.body);
    }
    let pids = |status: &Status| status.companions.iter().map(|one| one.pid).collect::<Vec<_>>();

    dev.run_successfully(&["down"]);
    assert!(pids(&status).into_iter().all(|pid| !is_alive(pid.unwrap())));
    dev.run_successfully(&["up", "--detach"]);
    let again = dev.status();
    assert!(again.companions.len() == 3 && pids(&again).iter().all(Option::is_some));
    dev.run_successfully(&["up", "--detach", "--with", "push"]);
    let only_push = dev.status();
    assert_eq!(only_push.companions, [again.companions[1].clone()]);
    assert!(!is_alive(again.companions[0].pid.unwrap()) && !is_alive(again.companions[2].pid.unwrap()));
    let refused = dev.run(&["up", "--detach", "--with", "mail"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("`files`"));
}

/// A stand-in for the demo's server: it is healthy, and returns its environment.
const DEMO_SERVER: &str = r#"import http from "node:http";
const port = Number(process.argv[process.argv.indexOf("--port") + 1]);
const { TIDINGS_DEMO_GATEWAYS: gateways, TIDINGS_DEMO_PERSISTENCE: persistence } = process.env;
http
  .createServer((request, response) =>
    response.end(request.url === "/healthz" ? "ok" : JSON.stringify({ gateways, persistence })))
  .listen(port, "127.0.0.1");
"#;

/// Writes a built demo into a folder; returns its program for `--demo`.
fn write_demo(folder: &Path) -> String {
    std::fs::create_dir_all(folder.join("dist")).unwrap();
    std::fs::write(folder.join("dist/index.html"), "").unwrap();
    std::fs::write(folder.join("serve.mjs"), DEMO_SERVER).unwrap();
    folder.join("serve.mjs").to_str().unwrap().to_owned()
}

async fn get_json(url: &str) -> serde_json::Value {
    tidings_harness::http::client().get(url).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn demo_is_restarted_like_a_node_and_knows_all_nodes() {
    let dev = DevSystem(Folder::new().unwrap());
    let base = free_base();
    let program = write_demo(&dev.0.path().join("web"));
    let (port, up) = (base.to_string(), ["up", "--detach", "--demo", &program]);
    let output = dev.run_successfully(&[&up[..], &["--gateways", "1", "--port", &port]].concat());
    let url = format!("http://127.0.0.1:{}", base + 2);
    assert!(output.contains(&format!("The demo, in a browser: {url}")), "{output}");
    assert_eq!(dev.status().demo.as_deref(), Some(url.as_str()));
    let gateway = format!("http://127.0.0.1:{base}");
    assert_eq!(get_json(&url).await["gateways"], gateway);

    let pid = |dev: &DevSystem| {
        let state = std::fs::read_to_string(dev.0.path().join(".dev/state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        u32::try_from(state["demo"]["running"]["pid"].as_u64().unwrap()).unwrap()
    };
    let first = pid(&dev);
    dev.run_successfully(&up);
    assert_eq!(pid(&dev), first, "nothing has changed");
    kill_and_wait(first);
    assert_eq!(dev.status().demo, None);
    dev.run_successfully(&up);
    let second = pid(&dev);
    assert!(second != first && dev.status().demo.is_some());
    dev.run_successfully(&[&up[..], &["--gateways", "2"]].concat());
    assert_ne!(pid(&dev), second, "the demo is restarted with the new gateway");
    assert_eq!(get_json(&url).await["gateways"], format!("{gateway},http://127.0.0.1:{}", base + 10));

    let last = pid(&dev);
    dev.run_successfully(&["down"]);
    assert!(!is_alive(last));
    assert_eq!(dev.status().demo, None);
}

#[test]
fn failed_demo_leaves_nodes_running_and_reports_reason() {
    let dev = DevSystem(Folder::new().unwrap());
    let base = free_base();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", base + 2)).unwrap();
    let program = write_demo(&dev.0.path().join("web"));
    let output = dev.run_successfully(&["up", "--detach", "--demo", &program, "--port", &base.to_string()]);
    assert!(output.contains(&format!("not started: port {} of 127.0.0.1 is taken", base + 2)), "{output}");
    let status = dev.status();
    assert_eq!((status.demo, status.gateways.iter().filter(|node| node.pid.is_some()).count()), (None, 2));
}

#[test]
fn taken_port_is_reported_with_its_number() {
    let dev = DevSystem(Folder::new().unwrap());
    let base = free_base();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", base + 1)).unwrap();
    let output = dev.run(&["up", "--detach", "--port", &base.to_string()]);
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains(&format!("port {} of 127.0.0.1 is taken", base + 1)), "{errors}");
}

#[test]
fn token_command_signs_the_requested_claims() {
    let dev = DevSystem(Folder::new().unwrap());
    let token = dev.run_successfully(&[
        "token",
        "alice",
        "--name",
        "Alice",
        "--ttl",
        "60",
        "--scope",
        "tidings.admin",
    ]);
    let state = std::fs::read_to_string(dev.0.path().join(".dev/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let key = jsonwebtoken::DecodingKey::from_secret(state["jwt_secret"].as_str().unwrap().as_bytes());
    let rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    let claims = jsonwebtoken::decode::<serde_json::Value>(token.trim(), &key, &rules).unwrap().claims;
    assert_eq!((&claims["sub"], &claims["name"]), (&"alice".into(), &"Alice".into()));
    assert_eq!(claims["scope"], "tidings.admin");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
}
