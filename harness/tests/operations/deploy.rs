//! The shipped deployment files, tested without Docker. The images, built in a folder as the Dockerfile says, run
//! read-only and as nobody, and deliver messages. The roles and Redis users of compose.yaml have the rights that the
//! services need and no more. `deploy/tools/deploy.sh` checks the rest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::folder::Folder;
use tidings_harness::node::{self, Service};
use tidings_harness::output::not_checked;
use tidings_harness::postgres::Postgres;
use tidings_harness::redis::Redis;
use tidings_harness::{ServerFrame, Stack};
use tidings_shared::log::MasterSource;
use tidings_shared::log::address::{SentinelAccess, client_with};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// The user id with which the images run.
const NOBODY_UID: &str = "65532";
/// Exit code of `build-in-folder.sh` on a machine that does not allow a separate root file system.
const UNSUPPORTED_EXIT_CODE: i32 = 3;

fn deploy_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

fn build_in_folder_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(deploy_path("tools/build-in-folder.sh"));
    command.args(arguments);
    command
}

fn output_text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Builds the images in a folder, with the programs of the test build.
fn build_images() -> Result<Folder> {
    let folder = Folder::new()?;
    let built = node::program("tidings-gateway")?;
    let output = build_in_folder_command(&["build", folder.path().to_str().unwrap()])
        .env("TIDINGS_BIN_DIR", built.parent().unwrap())
        .output()?;
    ensure!(output.status.success(), "{}", output_text(&output));
    Ok(folder)
}

/// Whether images can be started on this machine. Prints a notice if they cannot.
fn can_start_images(images: &Folder) -> Result<bool> {
    let output = build_in_folder_command(&["run", images.path().to_str().unwrap(), "gateway", "--version"])
        .output()?;
    if output.status.code() == Some(UNSUPPORTED_EXIT_CODE) {
        not_checked(output_text(&output).trim());
        return Ok(false);
    }
    ensure!(
        output.status.success() && output_text(&output).starts_with("tidings-gateway "),
        "{}",
        output_text(&output)
    );
    Ok(true)
}

fn launch_command(images: &Folder, image: &str) -> Vec<String> {
    let script = deploy_path("tools/build-in-folder.sh").to_str().unwrap().to_owned();
    vec![script, "exec".to_owned(), images.path().to_str().unwrap().to_owned(), image.to_owned()]
}

#[test]
#[ignore = "long: runs all checks once per mutation"]
fn checks_notice_each_mutation_of_shipped_files() -> Result<()> {
    let built = node::program("tidings-gateway")?;
    let programs = built.parent().context("no folder of programs")?;
    let tools = programs.parent().context("no target folder")?.join("tools");
    let mut command = Command::new(deploy_path("tools/deploy.sh"));
    command.arg("mutations").env("TIDINGS_TOOLS", tools).env("TIDINGS_BIN_DIR", programs);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", output_text(&output));
    Ok(())
}

#[test]
#[ignore = "long: plays nine outages, ten times faster than real time"]
fn played_outages_are_one_page_each() -> Result<()> {
    if Command::new("prometheus-alertmanager").arg("--version").output().is_err() {
        not_checked("played outages need Debian's package prometheus-alertmanager");
        return Ok(());
    }
    let output = Command::new("python3").arg(deploy_path("tools/watch/played.py")).output()?;
    ensure!(output.status.success(), "{}", output_text(&output));
    Ok(())
}

#[test]
fn image_holds_only_the_program_and_its_libraries() -> Result<()> {
    let images = build_images()?;
    for (image, program) in [
        ("gateway", "tidings-gateway"),
        ("persistence", "tidings-persistence"),
        ("migrations", "tidings-migrations"),
        ("probe", "tidings-probe"),
        ("webhooks", "tidings-webhooks"),
        ("files", "tidings-files"),
        ("push", "tidings-push"),
    ] {
        let root = images.path().join("images").join(image);
        ensure!(root.join(program).is_file(), "{image} has no {program}");
        let tops: Vec<_> = std::fs::read_dir(&root)?.flatten().map(|entry| entry.file_name()).collect();
        ensure!(!tops.iter().any(|name| name == "bin" || name == "usr"), "{image} holds more: {tops:?}");
        ensure!(root.join("etc/ssl/certs/ca-certificates.crt").is_file());
        // What scanners read: the packages of the libraries.
        for package in ["libc6", "ca-certificates"] {
            let status = std::fs::read_to_string(root.join("var/lib/dpkg/status.d").join(package))?;
            ensure!(
                status.contains(&format!("Package: {package}\n")) && status.contains("\nVersion: "),
                "{status}"
            );
        }
        ensure!(std::fs::read_to_string(root.join("etc/os-release"))?.contains("VERSION_ID="));
    }
    Ok(())
}

#[tokio::test]
async fn images_run_read_only_as_nobody_and_stop_on_sigterm() -> Result<()> {
    let images = build_images()?;
    if !can_start_images(&images)? {
        return Ok(());
    }
    let stack = Stack::builder()
        .under(Service::Gateway, 0, launch_command(&images, "gateway"))
        .under(Service::Persistence, 0, launch_command(&images, "persistence"))
        .start()
        .await?;
    for (node, image) in [(stack.gateway(0), "gateway"), (stack.persistence(0), "persistence")] {
        let pid = node.pid().context("the node does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = |name: &str| {
            let found = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            found.split_whitespace().skip(1).map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        // Without root rights the image runs in a user namespace that maps the test's user id to `nobody`. /proc is read
        // from outside this namespace, so it shows the test's user id.
        let ours = nix::unistd::Uid::effective();
        let expected = if ours.is_root() { NOBODY_UID.to_owned() } else { ours.to_string() };
        ensure!(line("Uid:").iter().all(|uid| *uid == expected), "{image}: {:?}", line("Uid:"));
        ensure!(line("CapEff:") == ["0000000000000000"], "{image}: {:?}", line("CapEff:"));
        ensure!(line("NoNewPrivs:") == ["1"], "{image}");
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let mut root = mounts.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields[4] == "/").then(|| fields[5].to_owned())
        });
        let root = root.next_back().context("there is no root mount")?;
        ensure!(root.split(',').any(|option| option == "ro"), "{image}: its root is {root}");

        // The health check as Docker runs it: by the program itself, with the image's environment.
        let admin = node.admin().rsplit(':').next().unwrap().to_owned();
        let mut ask = build_in_folder_command(&["health", images.path().to_str().unwrap(), image]);
        let output = ask.env("TIDINGS_ADMIN_LISTEN", format!("127.0.0.1:{admin}")).output()?;
        ensure!(output.status.success(), "{image}: {}", output_text(&output));
        let output = ask.env("TIDINGS_ADMIN_LISTEN", "127.0.0.1:1").output()?;
        ensure!(output.status.code() == Some(1), "{image}: {} {}", output.status, output_text(&output));
    }

    let room = stack.http("ann").new_room(&["ben"]).await?;
    let ann = stack.connect_at(0, "ann").await?;
    ann.join_and_catch_up(&room).await?;
    let ack = ann.send(&room, "from within").await?;
    ensure!((ack.seq, ack.stage.as_str()) == (1, "stored"), "{ack:?}");
    let ServerFrame::Message(message) = ann.wait_for("message:new", WAIT_TIMEOUT).await? else {
        anyhow::bail!("not a message");
    };
    ensure!(message.content == "from within");

    // SIGTERM reaches the program itself, which closes the connection with 1012.
    stack.gateway(0).stop().await?;
    let closed = ann.until_closed().await?;
    ensure!(closed.code == Some(1012), "{closed:?}");
    stack.persistence(0).stop().await?;
    Ok(())
}

#[tokio::test]
async fn compose_roles_and_redis_users_have_minimal_rights() -> Result<()> {
    let folder = Folder::new()?;
    let secrets = folder.path().join("secrets");
    let made = Command::new(deploy_path("compose/secrets.sh")).arg(&secrets).output()?;
    ensure!(made.status.success(), "{}", output_text(&made));
    let secret =
        |name: &str| -> Result<String> { Ok(std::fs::read_to_string(secrets.join(name))?.trim().to_owned()) };
    let before = secret("jwt_secret")?;
    // A second run changes nothing, and the script never prints a secret.
    let again = Command::new(deploy_path("compose/secrets.sh")).arg(&secrets).output()?;
    ensure!(again.status.success() && output_text(&again).is_empty() && secret("jwt_secret")? == before);
    ensure!(!output_text(&made).contains(&before));

    // The overlay with a cluster has the same users, one more for the nodes, and addresses of several nodes.
    let (users, users_of_cluster) = (secret("redis_acl")?, secret("redis_cluster_acl")?);
    let added = users_of_cluster.strip_prefix(&users).context("other users than those of the one Redis")?;
    ensure!(added.starts_with("\nuser tidings-nodes on >") && added.lines().count() == 2);
    for service in ["gateway", "persistence"] {
        let url = secret(&format!("redis_{service}_cluster_url"))?;
        let client = client_with(&url, None, None, SentinelAccess::default());
        let client = client.map_err(|problem| anyhow::anyhow!("{service}: {problem:?}"))?;
        ensure!(matches!(client.source(), MasterSource::Cluster(nodes) if nodes.len() == 3), "{service}");
    }

    // Redis gets the users as the file describes them.
    let redis = Redis::start().await?;
    for line in users.lines() {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(line.split_whitespace().skip(1).collect::<Vec<_>>());
        if line.starts_with("user tidings-") {
            redis.command::<()>(&command).await?;
        }
    }
    let redis_url = |service: &str| -> Result<String> {
        let url = secret(&format!("redis_{service}_url"))?;
        Ok(url.replace("@redis:6379/", &format!("@127.0.0.1:{}/", redis.port())))
    };

    // PostgreSQL gets the roles and a database. The owner migrates; the services use their own role.
    let postgres = std::sync::Arc::new(Postgres::start().await?);
    let database = postgres.database().await?;
    let (server, name) = database.url().rsplit_once('/').unwrap();
    let (superuser, place) = server.trim_start_matches("postgres://").split_once('@').unwrap();
    let (host, port) = place.split_once(':').unwrap();
    let psql = std::env::var("TIDINGS_POSTGRES_BIN").unwrap_or("/usr/lib/postgresql/15/bin".to_owned());
    let made = Command::new(deploy_path("compose/postgresql/roles.sh"))
        .env("PATH", format!("{psql}:{}", std::env::var("PATH")?))
        .env("TIDINGS_SECRETS", &secrets)
        .env("TIDINGS_BACKUP_ROLE", deploy_path("postgres/pgbackrest/role.sql"))
        .envs([("PGHOST", host), ("PGPORT", port)])
        .envs([("POSTGRES_USER", superuser.split(':').next().unwrap()), ("POSTGRES_DB", name)])
        .output()?;
    ensure!(made.status.success(), "{}", output_text(&made));
    let of_role = |role: &str, password: &str| format!("postgres://{role}:{password}@{place}/{name}");
    let owner = of_role("tidings_owner", &secret("postgresql_owner_password")?);
    let service = of_role("tidings_service", &secret("postgresql_service_password")?);
    let migrate = |url: &str| {
        Command::new(node::program("tidings-migrations").unwrap()).arg("up").env("DATABASE_URL", url).output()
    };
    let refused = migrate(&service)?;
    ensure!(!refused.status.success(), "the services' role can change the schema");
    let migrated = migrate(&owner)?;
    ensure!(migrated.status.success(), "{}", output_text(&migrated));

    let stack = Stack::builder()
        .gateway_env("REDIS_URL", &redis_url("gateway")?)
        .persistence_env("REDIS_URL", &redis_url("persistence")?)
        .persistence_env("DATABASE_URL", &service)
        .start()
        .await?;
    let http = stack.http("ann");
    let room = http.new_room(&["ben"]).await?;
    let ann = stack.connect_at(0, "ann").await?;
    let ben = stack.connect_at(0, "ben").await?;
    for person in [&ann, &ben] {
        person.join_and_catch_up(&room).await?;
    }
    let ack = ann.send(&room, "only what is needed").await?;
    ensure!(ack.stage == "stored", "{ack:?}");
    ben.wait_for("message:new", WAIT_TIMEOUT).await?;
    stack.http("ben").read(&room, 1).await?.expect(200);
    http.request(
        reqwest::Method::PATCH,
        &format!("/rooms/{room}/messages/1"),
        Some(json!({"content": "no more than that"})),
    )
    .await?
    .expect(200);
    http.put_member(&room, "eve", "member").await?.expect(200);
    http.get("/search?q=more").await?.expect(200);
    http.messages(&room, "").await?.expect(200);
    stack.http("ben").request(reqwest::Method::DELETE, "/me", None).await?.expect(204);

    // The services used this Redis and this database, and have no more rights there than they need.
    let rows = database.value("SELECT count(*) FROM messages").await?;
    ensure!(rows == "1", "{rows} messages");
    for service in ["gateway", "persistence"] {
        let client = redis::Client::open(redis_url(service)?)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        for forbidden in [&["FLUSHALL"][..], &["CONFIG", "GET", "*"], &["KEYS", "*"], &["ACL", "LIST"]] {
            let mut command = redis::cmd(forbidden[0]);
            command.arg(&forbidden[1..]);
            let outcome = command.query_async::<()>(&mut connection).await;
            let error = outcome.err().with_context(|| format!("{service}: {forbidden:?} is allowed"))?;
            ensure!(error.to_string().contains("permission"), "{service}: {forbidden:?}: {error}");
        }
    }

    // The exporters read statistics and nothing that is stored.
    let monitoring = |query: &str| format!("SET ROLE tidings_monitoring; {query}");
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'tidings_service' \
                  AND query NOT LIKE '<insufficient%'";
    ensure!(database.query(&monitoring(others)).await?.concat().last().is_some_and(|count| count != "0"));
    let read = database.query(&monitoring("SELECT content FROM public.messages")).await;
    let refused = read.err().context("the exporter's role reads messages")?;
    ensure!(refused.to_string().contains("permission denied"), "{refused}");
    let passwords: HashMap<String, String> = serde_json::from_str(&secret("redis_exporter_passwords")?)?;
    ensure!(passwords.len() == 7, "{:?}", passwords.keys());
    let password = &passwords["redis://tidings-monitoring@redis:6379"];
    let url = format!("redis://tidings-monitoring:{password}@127.0.0.1:{}/", redis.port());
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("all").query_async(&mut connection).await?;
    ensure!(info.contains("used_memory:"), "{info}");
    for forbidden in [&["GET", "x"][..], &["CONFIG", "GET", "*"], &["KEYS", "*"], &["SLOWLOG", "GET"]] {
        let mut command = redis::cmd(forbidden[0]);
        let outcome = command.arg(&forbidden[1..]).query_async::<()>(&mut connection).await;
        let error = outcome.err().with_context(|| format!("{forbidden:?} is allowed"))?;
        ensure!(error.to_string().contains("permission"), "{forbidden:?}: {error}");
    }
    Ok(())
}
