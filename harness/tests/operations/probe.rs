//! The program `tidings-probe` against real services: what it reports while they work, and while something is broken.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::telemetry_metrics::metric_value;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tidings_harness::balancer::Balancer;
use tidings_harness::tls::Identity;
use tidings_harness::token::{self, Token};
use tidings_harness::{Stack, http, node, ports, tls};
use tokio::process::{Child, Command};

const STEP_TIMEOUT_MS: &str = "3000";
/// A round has twelve steps with a time limit each. A run that takes longer hangs.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);
/// The steps of a first round without TLS.
const PLAIN_STEPS: [&str; 11] =
    ["token", "dns", "tcp", "websocket", "receiver", "room", "join", "send", "deliver", "stored", "history"];

/// The settings of a probe in a test.
pub struct Probe {
    folder: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
}

impl Probe {
    /// A probe that connects to the nodes of a stack without a proxy, with a token of this user.
    fn of(stack: &Stack) -> Result<Probe> {
        let probe = Probe { folder: tempfile::tempdir()?, settings: Vec::new() };
        probe.write_token(&stack.token("tidings-probe"))?;
        Ok(probe
            .with("TIDINGS_PROBE_URL", stack.persistence(0).url())
            .with("TIDINGS_PROBE_WS_URL", stack.gateway(0).url().replace("http://", "ws://"))
            .with("TIDINGS_PROBE_STEP_TIMEOUT_MS", STEP_TIMEOUT_MS.to_owned()))
    }

    /// A probe that connects to HAProxy with TLS.
    pub fn through(balancer: &Balancer, stack: &Stack) -> Result<Probe> {
        let probe = Probe::of(stack)?;
        let authorities = probe.folder.path().join("authorities.pem");
        std::fs::write(&authorities, tls::authority()?.pem())?;
        let settings = probe.settings.iter().filter(|(name, _)| !name.ends_with("URL")).cloned().collect();
        Ok(Probe { settings, ..probe }
            .with("TIDINGS_PROBE_URL", balancer.url())
            .with("TIDINGS_PROBE_CA_FILE", authorities.display().to_string()))
    }

    fn with(mut self, name: &'static str, value: String) -> Probe {
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, value));
        self
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn write_token(&self, token: &str) -> Result<()> {
        Ok(std::fs::write(self.token_file(), format!("{token}\n"))?)
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(node::program("tidings-probe")?);
        command.env_clear().envs(self.settings.iter().map(|(name, value)| (name, value)));
        if !self.settings.iter().any(|(name, _)| *name == "TIDINGS_PROBE_SIGNING_KEY_FILE") {
            command.env("TIDINGS_PROBE_TOKEN_FILE", self.token_file());
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    /// Runs `once`. Returns the lines, and whether it succeeded.
    async fn once(&self) -> Result<(Vec<Value>, bool)> {
        let run = self.command()?.arg("once").output();
        let output: Output = tokio::time::timeout(RUN_TIMEOUT, run).await.context("the probe hangs")??;
        let text = String::from_utf8(output.stdout)?;
        let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
        let lines = lines.with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))?;
        ensure!(lines.last().is_some_and(|line| line["step"] == "round"), "{lines:?}");
        Ok((lines, output.status.success()))
    }

    /// Runs `once`, which must fail at this step with this code.
    async fn ensure_failed(&self, step: &str, code: &str) -> Result<()> {
        let (lines, succeeded) = self.once().await?;
        let last = lines.last().context("no line")?;
        ensure!(!succeeded && last["outcome"] == "failed", "{lines:?}");
        ensure!(last["failed_step"] == step && last["code"] == code, "{lines:?}");
        Ok(())
    }

    /// Starts the service with rounds every 200 ms.
    pub fn start(&self) -> Result<RunningProbe> {
        self.start_every("200")
    }

    /// Starts the service. A round begins every `interval_ms` milliseconds.
    pub fn start_every(&self, interval_ms: &str) -> Result<RunningProbe> {
        let port = ports::free()?;
        let child = self
            .command()?
            .env("TIDINGS_PROBE_LISTEN", format!("127.0.0.1:{port}"))
            .env("TIDINGS_PROBE_INTERVAL_MS", interval_ms)
            .stderr(std::fs::File::create(self.folder.path().join("log"))?)
            .spawn()?;
        Ok(RunningProbe { child, port, log: self.folder.path().join("log") })
    }
}

/// A probe that runs rounds until it is dropped.
pub struct RunningProbe {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl RunningProbe {
    /// `HOST:PORT` of its metrics.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn get(&self, path: &str) -> Result<(u16, String)> {
        let answer = http::client().get(format!("http://{}{path}", self.address())).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Waits until a sample has a value.
    async fn until(&self, sample: &str, wanted: impl Fn(f64) -> bool) -> Result<String> {
        let waiting = async {
            loop {
                if let Ok((200, page)) = self.get("/metrics").await
                    && metric_value(&page, sample).is_some_and(&wanted)
                {
                    return page;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let found = tokio::time::timeout(RUN_TIMEOUT, waiting).await;
        found.with_context(|| format!("{sample}: {}", read(&self.log)))
    }

    /// Sends SIGTERM, and returns whether the program ended well.
    async fn terminate(mut self) -> Result<bool> {
        let pid = self.child.id().context("the probe has ended")?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
        Ok(tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await??.success())
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_succeeds_and_second_round_uses_same_room() -> Result<()> {
    let stack = Stack::start().await?;
    let probe = Probe::of(&stack)?;
    for _ in 0..2 {
        let (lines, succeeded) = probe.once().await?;
        let steps: Vec<_> = lines.iter().filter_map(|line| line["step"].as_str()).collect();
        ensure!(steps[..steps.len() - 1] == PLAIN_STEPS, "{steps:?}");
        ensure!(succeeded && lines.iter().all(|line| line["outcome"] == "ok"), "{lines:?}");
    }
    let rooms = stack.http("tidings-probe").get("/me/rooms").await?.expect(200).body;
    ensure!(rooms["rooms"].as_array().is_some_and(|rooms| rooms.len() == 1), "{rooms}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_names_what_is_broken() -> Result<()> {
    let stack = Stack::start().await?;
    let probe = Probe::of(&stack)?;
    probe.write_token(&Token::of("tidings-probe").sign(&token::secret()))?;
    probe.ensure_failed("websocket", "unauthorized").await?;
    probe.write_token(&stack.token("tidings-probe"))?;
    let closed = ports::free()?;
    let probe = probe.with("TIDINGS_PROBE_WS_URL", format!("ws://127.0.0.1:{closed}"));
    probe.ensure_failed("tcp", "refused").await?;
    let probe = probe.with("TIDINGS_PROBE_WS_URL", "ws://no-such-host.invalid:80".to_owned());
    probe.ensure_failed("dns", "unresolved").await?;
    // The gateway accepts and answers nothing.
    stack.gateway(0).pause()?;
    let probe = probe.with("TIDINGS_PROBE_WS_URL", stack.gateway(0).url().replace("http://", "ws://"));
    probe.ensure_failed("websocket", "timeout").await?;
    stack.gateway(0).resume()?;
    let (_, succeeded) = probe.once().await?;
    ensure!(succeeded, "the round fails after the gateway is back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_fails_while_persistence_is_away_and_then_recovers() -> Result<()> {
    let stack = Stack::start().await?;
    let probe = Probe::of(&stack)?;
    let running = probe.start()?;
    running.until("tidings_probe_success", |value| value == 1.0).await?;
    let (status, _) = running.get("/readyz").await?;
    ensure!(status == 200);
    stack.persistence(0).stop().await?;
    let page = running.until("tidings_probe_success", |value| value == 0.0).await?;
    let failed = metric_value(&page, "tidings_probe_rounds_total{outcome=\"failed\"}").unwrap_or_default();
    ensure!(failed >= 1.0, "{page}");
    ensure!(read(&running.log).contains("the round failed"), "{}", read(&running.log));
    // An installation that fails must not take the metrics away.
    ensure!(running.get("/readyz").await?.0 == 200);
    stack.persistence(0).restart().await?;
    running.until("tidings_probe_success", |value| value == 1.0).await?;
    ensure!(running.terminate().await?, "{}", read(&probe.folder.path().join("log")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_token_file_is_used_in_next_round() -> Result<()> {
    let stack = Stack::start().await?;
    let probe = Probe::of(&stack)?;
    probe.write_token(&Token::of("tidings-probe").ttl_s(-3600).sign(stack.jwt_secret()))?;
    let running = probe.start()?;
    let failed = "tidings_probe_failures_total{code=\"unauthorized\",step=\"websocket\"}";
    running.until(failed, |value| value >= 1.0).await?;
    probe.write_token(&stack.token("tidings-probe"))?;
    running.until("tidings_probe_success", |value| value == 1.0).await?;
    std::fs::remove_file(probe.token_file())?;
    running
        .until("tidings_probe_failures_total{code=\"credentials\",step=\"token\"}", |value| value >= 1.0)
        .await?;
    ensure!(running.terminate().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_signs_tokens_with_the_secret_of_the_services() -> Result<()> {
    let stack = Stack::start().await?;
    let probe = Probe::of(&stack)?;
    let key = probe.folder.path().join("key");
    std::fs::write(&key, stack.jwt_secret())?;
    let probe = probe.with("TIDINGS_PROBE_SIGNING_KEY_FILE", key.display().to_string());
    let (lines, succeeded) = probe.once().await?;
    ensure!(succeeded, "{lines:?}");
    // The file while the secret is replaced.
    std::fs::write(
        probe.folder.path().join("key"),
        format!("{}\n{}\n", stack.jwt_secret(), token::secret()),
    )?;
    let (lines, succeeded) = probe.once().await?;
    ensure!(succeeded, "{lines:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_is_reported_and_verified_through_haproxy() -> Result<()> {
    let stack = Stack::builder().gateways(2).persistence(2).start().await?;
    let balancer = Balancer::of(&stack).await?;
    let probe = Probe::through(&balancer, &stack)?;
    let (lines, succeeded) = probe.once().await?;
    ensure!(succeeded && lines.iter().any(|line| line["step"] == "tls"), "{lines:?}");
    let ends = lines.last().and_then(|line| line["certificates"]["localhost"].as_i64());
    ensure!(ends.is_some_and(|ends| ends > 1_700_000_000), "{lines:?}");

    let expired = tls::authority()?.expired_identity(&["localhost"])?;
    let ended = Balancer::with_identity(&stack, expired).await?;
    let probe = Probe::through(&ended, &stack)?;
    probe.ensure_failed("tls", "certificate").await?;
    let running = probe.start()?;
    let ends = "tidings_probe_certificate_expiry_timestamp_seconds{host=\"localhost\"}";
    running.until(ends, |value| value > 0.0 && value < 1_700_000_000.0).await?;
    ensure!(running.terminate().await?);

    let made = tempfile::tempdir()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy").join("compose/secrets.sh");
    ensure!(Command::new(script).arg(made.path()).output().await?.status.success());
    let (file, trusted) = (made.path().join("certificates/localhost.pem"), made.path().join("probe_ca"));
    let identity = Identity { certificate: read(&file), key: String::new() };
    let shipped = Balancer::with_identity(&stack, identity).await?;
    let probe =
        Probe::through(&shipped, &stack)?.with("TIDINGS_PROBE_CA_FILE", trusted.display().to_string());
    let (lines, succeeded) = probe.once().await?;
    ensure!(succeeded, "{lines:?}");

    let untrusted = Probe::through(&balancer, &stack)?;
    let settings =
        untrusted.settings.iter().filter(|(name, _)| !name.ends_with("CA_FILE")).cloned().collect();
    Probe { settings, ..untrusted }.ensure_failed("tls", "certificate").await
}
