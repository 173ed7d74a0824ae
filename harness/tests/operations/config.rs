//! Settings of the programs: all invalid settings are reported at once before anything starts, secrets come from files
//! and are never printed, and the programs describe themselves.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use tidings_harness::folder::Folder;
use tidings_harness::{Service, Stack, node, ports};

/// Every secret in this file contains this text.
const SECRET_TEXT: &str = "hunter2hunter2hunter2";
const PROGRAMS: [Service; 2] = [Service::Gateway, Service::Persistence];

/// Valid settings; no server listens at the addresses.
fn valid_settings(service: Service) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::from([
        ("REDIS_URL", format!("redis://:{SECRET_TEXT}@127.0.0.1:1")),
        ("TIDINGS_INTERNAL_SECRET", SECRET_TEXT.to_owned()),
        ("TIDINGS_JWT_SECRET", SECRET_TEXT.to_owned()),
    ]);
    match service {
        Service::Gateway => settings.insert("TIDINGS_PERSISTENCE_URLS", "http://127.0.0.1:1".to_owned()),
        Service::Persistence => {
            settings.insert("DATABASE_URL", format!("postgres://tidings:{SECRET_TEXT}@127.0.0.1:1/tidings"))
        }
    };
    settings
}

/// Runs a program; returns the exit code and all output, which must not contain a secret.
fn run_program(program: &str, flags: &[&str], settings: &BTreeMap<&str, String>) -> Result<(i32, String)> {
    let mut command = Command::new(node::program(program)?);
    let Output { status, stdout, stderr } = command.env_clear().envs(settings).args(flags).output()?;
    let output = format!("{}{}", String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    ensure!(!output.contains(SECRET_TEXT), "{program} {flags:?} prints a secret: {output}");
    Ok((status.code().unwrap_or(-1), output))
}

fn check_config(service: Service, settings: &BTreeMap<&str, String>) -> Result<(i32, String)> {
    run_program(service.program(), &["--check-config"], settings)
}

fn write_file(folder: &Folder, name: &str, text: &str) -> Result<String> {
    let path = folder.path().join(name);
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

#[test]
fn valid_settings_pass_check_without_starting_anything() -> Result<()> {
    for service in PROGRAMS {
        assert_eq!(check_config(service, &valid_settings(service))?, (0, "ok\n".to_owned()));
    }
    Ok(())
}

#[test]
fn all_invalid_settings_are_reported_at_once_with_reasons() -> Result<()> {
    let folder = Folder::new()?;
    for service in PROGRAMS {
        let mut settings = valid_settings(service);
        settings.insert("REDIS_URL", format!("redis://:{SECRET_TEXT}@127.0.0.1:port"));
        settings.insert("TIDINGS_LISTEN", "somewhere".to_owned());
        settings.insert("TIDINGS_UNREADY_MS", "700000".to_owned());
        settings.insert("TIDINGS_ALLOWED_ORIGINS", "chat.example".to_owned());
        settings.insert("TIDINGS_JWT_USER_CLAIM", " ".to_owned());
        settings.insert("TIDINGS_LOG", "tidings=loud".to_owned());
        settings.remove("TIDINGS_INTERNAL_SECRET");
        settings.insert("TIDINGS_INTERNAL_SECRET_FILE", write_file(&folder, "short", &SECRET_TEXT[..9])?);
        let mut expected = vec![
            "--redis-url (REDIS_URL): is not a Redis URL: redis://",
            "--listen (TIDINGS_LISTEN): \"somewhere\": invalid socket address",
            "--unready-ms (TIDINGS_UNREADY_MS): \"700000\": 700000 is not in 0..=600000",
            "--allowed-origins (TIDINGS_ALLOWED_ORIGINS): ",
            "--log (TIDINGS_LOG): ",
            "--internal-secret (TIDINGS_INTERNAL_SECRET): must have at least 16 bytes",
        ];
        if service == Service::Persistence {
            settings
                .insert("DATABASE_URL", format!("postgres://tidings:{SECRET_TEXT}@x/y?sslrootcert=/no/file"));
            settings.insert("TIDINGS_LEASE_MS", "5".to_owned());
            settings.insert("TIDINGS_USERS", "everybody".to_owned());
            expected.extend([
                "--database-url (DATABASE_URL): names the file /no/file as sslrootcert",
                "--lease-ms (TIDINGS_LEASE_MS): must be from 1000 to 60000",
                "--users (TIDINGS_USERS): \"everybody\": it must be one of create, required",
            ]);
        } else {
            settings.insert("TIDINGS_PERSISTENCE_URLS", "http://127.0.0.1:1,ftp://x".to_owned());
            expected.push("--persistence-url (TIDINGS_PERSISTENCE_URLS): must begin with http://");
        }
        let (code, output) = check_config(service, &settings)?;
        for line in &expected {
            ensure!(output.contains(line), "{line} is not in:\n{output}");
        }
        ensure!(code == 2 && output.lines().count() == expected.len(), "{code}:\n{output}");
        // Without `--check-config` the program does not start and reports the same.
        let (code, started) = run_program(service.program(), &[], &settings)?;
        ensure!(code == 2 && started == output, "{code}:\n{started}");
    }
    Ok(())
}

#[test]
fn secrets_are_read_from_files_but_not_from_both_sources() -> Result<()> {
    let folder = Folder::new()?;
    for service in PROGRAMS {
        for secret in ["REDIS_URL", "DATABASE_URL", "TIDINGS_JWT_SECRET", "TIDINGS_INTERNAL_SECRET"] {
            let mut settings = valid_settings(service);
            let Some(value) = settings.remove(secret) else { continue };
            let variable = format!("{secret}_FILE");
            let path = write_file(&folder, secret, &format!("{value}\n"))?;
            settings.insert(&variable, path);
            assert_eq!(check_config(service, &settings)?, (0, "ok\n".to_owned()), "{variable}");
            settings.insert(secret, value);
            let (code, output) = check_config(service, &settings)?;
            ensure!(code == 2 && output.contains(secret) && output.contains(&variable), "{output}");
            settings.remove(secret);
            settings.insert(&variable, "/no/such/secret".to_owned());
            let (code, output) = check_config(service, &settings)?;
            ensure!(
                code == 2 && output.contains(&variable) && output.contains("/no/such/secret"),
                "{output}"
            );
            ensure!(
                output.lines().count() == 1,
                "a single missing file causes more than one error:\n{output}"
            );
        }
    }
    // Jobs and migrations read secrets in the same way.
    let path = write_file(&folder, "database", &format!("mysql://{SECRET_TEXT}"))?;
    let settings =
        BTreeMap::from([("DATABASE_URL_FILE", path), ("REDIS_URL", "redis://127.0.0.1:1".to_owned())]);
    for (program, job) in [
        ("tidings-persistence", &["retain", "--older-than=1d", "--drop"][..]),
        ("tidings-persistence", &["dead-letter", "list"]),
        ("tidings-persistence", &["import", "x"]),
        ("tidings-persistence", &["export"]),
        ("tidings-persistence", &["erase", "x"]),
        ("tidings-persistence", &["migrate", "up"]),
        ("tidings-migrations", &["status"]),
    ] {
        let (code, output) = run_program(program, job, &settings)?;
        let why = "--database-url (DATABASE_URL): must begin with postgres://";
        ensure!(code == 2 && output.contains(why), "{job:?}: {output}");
        let (code, output) = run_program(program, job, &BTreeMap::new())?;
        ensure!(code == 2 && output.contains("DATABASE_URL_FILE"), "{job:?}: {output}");
    }
    // A job refuses a bound of zero, as a service does.
    let mut settings = valid_settings(Service::Persistence);
    settings.insert("TIDINGS_MAX_BACKLOG_RECORDS", "0".to_owned());
    let (code, output) = run_program("tidings-persistence", &["import", "x"], &settings)?;
    ensure!(code == 2 && output.contains("--max-backlog-records"), "{output}");
    Ok(())
}

#[test]
fn only_unknown_variables_cause_a_warning() -> Result<()> {
    let mut settings = valid_settings(Service::Gateway);
    settings.insert("TIDINGS_HARTBEAT_MS", "5".to_owned());
    settings.insert("TIDINGS_LEASE_MS", "5".to_owned());
    let (code, output) = check_config(Service::Gateway, &settings)?;
    let warning = "tidings-gateway: warning: the variable TIDINGS_HARTBEAT_MS is not a setting; did you mean TIDINGS_HEARTBEAT_MS?";
    ensure!(code == 0 && output.contains(warning) && output.lines().count() == 2, "{output}");
    Ok(())
}

#[test]
fn equal_listener_addresses_fail_the_check() -> Result<()> {
    for service in PROGRAMS {
        let mut settings = valid_settings(service);
        settings.insert("TIDINGS_LISTEN", "127.0.0.1:7000".to_owned());
        settings.insert("TIDINGS_ADMIN_LISTEN", "0.0.0.0:7000".to_owned());
        let (code, output) = check_config(service, &settings)?;
        let problem = "(TIDINGS_ADMIN_LISTEN): 0.0.0.0:7000 is taken by --listen 127.0.0.1:7000";
        ensure!(code == 2 && output.contains(problem) && output.lines().count() == 1, "{output}");
    }
    Ok(())
}

#[test]
fn occupied_port_is_reported_as_json_like_every_line() -> Result<()> {
    let occupied = std::net::TcpListener::bind("127.0.0.1:0")?;
    for (service, flag, variable) in [
        (Service::Gateway, "--listen", "TIDINGS_LISTEN"),
        (Service::Persistence, "--internal-listen", "TIDINGS_INTERNAL_LISTEN"),
        (Service::Persistence, "--admin-listen", "TIDINGS_ADMIN_LISTEN"),
    ] {
        let mut settings = valid_settings(service);
        for variable in ["TIDINGS_LISTEN", "TIDINGS_ADMIN_LISTEN", "TIDINGS_INTERNAL_LISTEN"] {
            settings.insert(variable, format!("127.0.0.1:{}", ports::free()?));
        }
        settings.insert(variable, occupied.local_addr()?.to_string());
        let (code, output) = run_program(service.program(), &[], &settings)?;
        let lines: Vec<serde_json::Value> =
            output.lines().map(serde_json::from_str).collect::<Result<_, _>>().context(output.clone())?;
        let last = lines.last().context("no line")?;
        let error = last["error"].as_str().unwrap_or_default();
        ensure!(code == 1 && last["level"] == "ERROR", "{code}: {output}");
        ensure!(last["message"] == "the service cannot run", "{output}");
        ensure!(error.contains(&format!("{flag}: cannot listen on {}", occupied.local_addr()?)), "{output}");
        ensure!(error.contains("in use"), "{output}");
        settings.insert("TIDINGS_LOG", "off".to_owned());
        let (_, output) = run_program(service.program(), &[], &settings)?;
        ensure!(output.contains("in use"), "without a log the reason is missing: {output}");
    }
    Ok(())
}

#[test]
fn help_version_settings_and_completions_print_no_secrets() -> Result<()> {
    for service in PROGRAMS {
        let (program, settings) = (service.program(), valid_settings(service));
        let run = |flags: &[&str]| -> Result<String> {
            let (code, output) = run_program(program, flags, &settings)?;
            ensure!(code == 0, "{flags:?}: {output}");
            Ok(output)
        };
        let help = run(&["--help"])?;
        for part in ["health", "completions", "--check-config", "--redis-url-file", "REDIS_URL_FILE"] {
            ensure!(help.contains(part), "{part} is not in {help}");
        }
        let version = run(&["--version"])?;
        let (named, commit) = version.trim().split_once(" (").unwrap_or_default();
        assert_eq!(named, format!("{program} {}", env!("CARGO_PKG_VERSION")));
        ensure!(commit.len() > 7 && commit.ends_with(')'), "{version}");
        for shell in ["bash", "zsh", "fish"] {
            let script = run(&["completions", shell])?;
            ensure!(script.contains("heartbeat-ms") || script.contains("lease-ms"), "{shell}: {script}");
        }
        ensure!(run(&["settings"])?.contains("| `--redis-url` | `REDIS_URL` | required | url |"));
    }
    let completed = r#"source /dev/stdin && COMP_WORDS=(tidings-persistence mig) COMP_CWORD=1 && _tidings__persistence tidings-persistence mig tidings-persistence && echo "${COMPREPLY[0]}""#;
    let (_, script) = run_program("tidings-persistence", &["completions", "bash"], &BTreeMap::new())?;
    let folder = Folder::new()?;
    let path = write_file(&folder, "completions", &script)?;
    let output = Command::new("bash").args(["-c", completed]).stdin(std::fs::File::open(path)?).output()?;
    assert_eq!(String::from_utf8(output.stdout)?, "migrate\n");
    Ok(())
}

#[tokio::test]
async fn health_command_uses_the_configured_admin_port() -> Result<()> {
    let stack = Stack::start().await?;
    for node in [stack.gateway(0), stack.persistence(0)] {
        let program = node.service().program();
        let settings = BTreeMap::from([
            // As in a container.
            ("TIDINGS_ADMIN_LISTEN", format!("0.0.0.0:{}", node.ports().admin)),
        ]);
        assert_eq!(run_program(program, &["health"], &settings)?, (0, "ready\n".to_owned()));
        assert_eq!(run_program(program, &["health", "--live"], &settings)?, (0, "alive\n".to_owned()));
    }
    stack.redis().kill();
    let settings =
        BTreeMap::from([("TIDINGS_ADMIN_LISTEN", format!("127.0.0.1:{}", stack.gateway(0).ports().admin))]);
    let begun = std::time::Instant::now();
    loop {
        let (code, output) = run_program("tidings-gateway", &["health"], &settings)?;
        if code == 1 && output.contains("503 not ready: ") {
            break;
        }
        ensure!(begun.elapsed().as_secs() < 30, "{code}: {output}");
    }
    assert_eq!(run_program("tidings-gateway", &["health", "--live"], &settings)?, (0, "alive\n".to_owned()));
    stack.gateway(0).kill();
    let (code, output) = run_program("tidings-gateway", &["health"], &settings)?;
    ensure!(code == 1 && output.contains("refused"), "{output}");
    Ok(())
}
