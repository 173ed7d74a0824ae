//! The images, built by buildah and run by runc as containers: with the limits of compose.yaml, read-only, as their user
//! and without capabilities. A conversation goes through them, and they stop in order. Needs root, buildah and runc:
//!
//!     ./dev test --long containers

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidings_harness::folder::Folder;
use tidings_harness::node::{self, Service};
use tidings_harness::output::not_checked;
use tidings_harness::{ServerFrame, Stack};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// Exit code of `containers.sh` on a machine that cannot build or run containers.
const UNSUPPORTED_EXIT_CODE: i32 = 3;
const NOBODY_UID: &str = "65532";
const MIB: u64 = 1024 * 1024;

fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tools").join(name)
}

fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn containers(action: &str, folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(tool("containers.sh"));
    command.arg(action).arg(folder).args(words);
    command
}

/// Builds the images from the programs of the test build; `None` on a machine that cannot do so.
fn build_images(folder: &Path) -> Result<Option<()>> {
    let built = node::program("tidings-gateway")?;
    let programs = built.parent().context("no folder of programs")?;
    let tools = programs.parent().context("no target folder")?.join("tools");
    let mut command = Command::new(tool("deploy.sh"));
    command.arg("images").arg(folder).env("TIDINGS_BIN_DIR", programs).env("TIDINGS_TOOLS", tools);
    let output = command.output()?;
    if output.status.code() == Some(UNSUPPORTED_EXIT_CODE) {
        not_checked(text_of(&output).trim());
        return Ok(None);
    }
    ensure!(output.status.success(), "{}", text_of(&output));
    Ok(Some(()))
}

/// The process in a container, and its limit of memory, from either version of cgroups.
fn process_and_memory_limit(folder: &Path, container: &str) -> Result<(u32, u64)> {
    let pid: u32 =
        fs::read_to_string(folder.join("containers").join(container).join("pid"))?.trim().parse()?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let line = groups.lines().find(|line| line.contains(":memory:") || line.starts_with("0::/"));
    let (controllers, group) =
        line.and_then(|line| line.split_once(":/")).context("the process is in no cgroup")?;
    let file = if controllers.ends_with("memory") {
        format!("/sys/fs/cgroup/memory/{group}/memory.limit_in_bytes")
    } else {
        format!("/sys/fs/cgroup/{group}/memory.max")
    };
    Ok((pid, fs::read_to_string(&file).context(file)?.trim().parse()?))
}

/// Checks user, rights, file system and namespaces of a process from outside its container.
fn ensure_confined(container: &str, pid: u32) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let values = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().skip(1).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    for name in ["Uid:", "Gid:"] {
        ensure!(values(name).iter().all(|id| id == NOBODY_UID), "{container}: {name} {:?}", values(name));
    }
    for name in ["CapEff:", "CapPrm:", "CapBnd:"] {
        ensure!(values(name) == ["0000000000000000"], "{container}: {name} {:?}", values(name));
    }
    ensure!(values("NoNewPrivs:") == ["1"], "{container}: NoNewPrivs {:?}", values("NoNewPrivs:"));
    // In its own namespace of processes the program is number 1.
    ensure!(values("NSpid:").last().is_some_and(|pid| pid == "1"), "{container}: {:?}", values("NSpid:"));
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|at| at[4] == "/");
    let root = root.context("there is no root mount")?;
    ensure!(root[5].split(',').any(|option| option == "ro"), "{container}: its root is {}", root[5]);
    Ok(())
}

#[tokio::test]
#[ignore = "long: builds images and needs root, buildah and runc"]
async fn containers_of_images_keep_limits_and_deliver_messages() -> Result<()> {
    let folder = Folder::new()?;
    let place = folder.path();
    if build_images(place)?.is_none() {
        return Ok(());
    }
    let script = tool("containers.sh").to_str().unwrap().to_owned();
    let place_word = place.to_str().unwrap().to_owned();
    let launch =
        |container: &str| vec![script.clone(), "exec".to_owned(), place_word.clone(), container.to_owned()];
    let stack = Stack::builder()
        .gateways(2)
        .under(Service::Gateway, 0, launch("gateway"))
        .under(Service::Gateway, 1, launch("gateway-2"))
        .under(Service::Persistence, 0, launch("persistence"))
        .start()
        .await?;
    let limits = [("gateway", 768), ("gateway-2", 768), ("persistence", 512)];
    for (container, mebibytes) in limits {
        let (pid, limit) = process_and_memory_limit(place, container)?;
        ensure!(limit == mebibytes * MIB, "{container}: its limit of memory is {limit}");
        ensure_confined(container, pid)?;
        let output = containers("health", place, &[container]).output()?;
        ensure!(output.status.success(), "{container}: {}", text_of(&output));
    }
    let migrated = containers("exec", place, &["migrations", "tidings-migrations", "up"])
        .env("DATABASE_URL", stack.database().url())
        .output()?;
    ensure!(migrated.status.success(), "{}", text_of(&migrated));

    let room = stack.http("ann").new_room(&["ben"]).await?;
    let (ann, ben) = (stack.connect_at(0, "ann").await?, stack.connect_at(1, "ben").await?);
    for member in [&ann, &ben] {
        member.join_and_catch_up(&room).await?;
    }
    for (number, sender) in [&ann, &ben, &ann].into_iter().enumerate() {
        let content = format!("message {number}");
        let ack = sender.send(&room, &content).await?;
        ensure!(ack.stage == "stored", "{ack:?}");
        for receiver in [&ann, &ben] {
            let ServerFrame::Message(message) = receiver.wait_for("message:new", WAIT_TIMEOUT).await? else {
                anyhow::bail!("not a message");
            };
            ensure!(message.content == content, "{message:?}");
        }
    }
    let history = stack.http("ben").messages(&room, "").await?.expect(200).body;
    ensure!(history["messages"].as_array().is_some_and(|messages| messages.len() == 3), "{history}");

    // runc passes SIGTERM on to the program, which closes the connection with 1012.
    stack.gateway(0).stop().await?;
    let closed = ann.until_closed().await?;
    ensure!(closed.code == Some(1012), "{closed:?}");
    stack.persistence(0).stop().await?;
    let output =
        Command::new("runc").arg("--root").arg(place.join("runc")).args(["list", "--quiet"]).output()?;
    let left = text_of(&output);
    ensure!(
        left.trim().starts_with("gateway-2-") && left.lines().count() == 1,
        "containers are left: {left}"
    );
    Ok(())
}
