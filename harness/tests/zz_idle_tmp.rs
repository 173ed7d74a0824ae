//! temporary
use std::process::Command;
use serde_json::json;
use tidings_harness::Stack;
#[tokio::test]
async fn weigh() {
    let stack = Stack::builder().gateways(1).start().await.unwrap();
    let gateway = |node: &tidings_harness::Node| json!({ "url": node.url(), "ws": node.ws(), "admin": node.admin(), "pid": node.pid() });
    let persistence = |node: &tidings_harness::Node| json!({ "url": node.url(), "admin": node.admin(), "pid": node.pid() });
    let status = json!({
        "redis_url": stack.redis().url(), "database_url": stack.database().url(), "redis_pid": null,
        "postgres_pid": null, "demo": null, "jwt_secret": stack.jwt_secret(),
        "gateways": stack.gateways().iter().map(gateway).collect::<Vec<_>>(),
        "persistence": stack.persistence_nodes().iter().map(persistence).collect::<Vec<_>>(),
    });
    let file = stack.folder().join("status.json");
    std::fs::write(&file, status.to_string()).unwrap();
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings-idle"));
        command.arg("--stack").arg(&file).args(["--connections", "6000", "--idle", "8", "--max-bytes", "100000"]);
        let output = tokio::process::Command::from(command).output().await.unwrap();
        println!("{}", String::from_utf8_lossy(&output.stdout));
    }
}
