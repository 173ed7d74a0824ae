//! A release of the Helm chart, walked through on this machine: it is installed, its machines are drained, it is
//! upgraded, upgraded with a wrong setting, and rolled back, while clients converse. Helm renders the objects. A small
//! executor obeys them as Helm, the controllers and the kubelets would, with the real programs and stores. It is not a
//! cluster: it has no network policies, no images and no resources.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidings_harness::Nodes;
use tidings_harness::output::not_checked;
use tidings_harness::play::run::{PlayOptions, Progress, Speed, play};
use tidings_harness::play::transcript;

use chart::{Action, Revision};
use cluster::Cluster;

mod chart;
mod cluster;
mod network;
mod objects;
mod pod;
mod prober;
mod record;
mod rollout;
mod service_address;
mod site;

/// The values of the first revision. Rates are high, because the conversation is played fast.
const FIRST: &str = r#"
image: {tag: 0.1.0}
settings: {TIDINGS_OTLP_ENDPOINT: null, TIDINGS_TRACE_RATIO: null}
spread: ScheduleAnyway
gateway: {replicas: 2, drainMs: 8000}
persistence:
  replicas: 2
  env:
    TIDINGS_MESSAGES_PER_SECOND: "100000"
    TIDINGS_MESSAGES_BURST: "100000"
    TIDINGS_MARKS_PER_SECOND: "100000"
    TIDINGS_PRESENCE_PER_SECOND: "100000"
    TIDINGS_READS_PER_SECOND: "100000"
autoscaling: {enabled: false}
"#;
const UPGRADE: &str = "{image: {tag: 0.1.1}, settings: {TIDINGS_LOG: 'info,tidings_shared=debug'}}";
const WRONG: &str = "settings: {TIDINGS_ALLOWED_ORIGINS: app.example.com}";
const WRONG_VARIABLE: &str = "TIDINGS_ALLOWED_ORIGINS";
/// The speed at which a play takes about a minute.
const PLAY_SPEED: f64 = 110.0;
const STEP_LIMIT: Duration = Duration::from_secs(180);

/// Plays the conversation again and again until the walk is over; each play must be clean.
async fn play_until(over: Arc<AtomicBool>, nodes: Nodes) -> Result<u64> {
    let conversation = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ubuntu-2016-12-19.jsonl");
    let conversations = transcript::read(&[conversation])?;
    let mut messages = 0;
    while !over.load(Ordering::Relaxed) {
        let (options, progress) = (PlayOptions::new(Speed::Times(PLAY_SPEED), 20), Progress::default());
        let (report, verdict) = play(conversations.clone(), options, nodes.clone(), &progress).await?;
        println!("{}", serde_json::to_string(&report)?);
        ensure!(verdict.is_clean(), "{verdict:#?}");
        ensure!(report.messages >= 100, "{report:?}");
        messages += report.messages;
    }
    Ok(messages)
}

async fn install(cluster: &mut Cluster, first: &Revision) -> Result<()> {
    cluster.begin("install");
    let hooks = first.hooks(Action::Install)?;
    let names: Vec<_> = hooks.iter().map(|hook| hook.name.as_str()).collect();
    ensure!(names == ["tidings-migrations"], "hooks before an installation: {names:?}");
    cluster.apply(Action::Install, first).await?;
    cluster.until(STEP_LIMIT, Cluster::is_complete).await?;
    cluster.run_hooks(Action::Test, first).await
}

/// After the first drain the second machine has all pods, so that its drain must obey the disruption budgets.
async fn drain(cluster: &mut Cluster) -> Result<()> {
    for machine in 0..2 {
        cluster.begin(&format!("drain of machine {machine}"));
        cluster.cordon(machine, true);
        let empty = |cluster: &Cluster| cluster.pods.iter().all(|pod| pod.machine != machine);
        cluster.until(STEP_LIMIT, |cluster| empty(cluster) && cluster.is_complete()).await?;
        cluster.cordon(machine, false);
        ensure!(cluster.fewest_ready() == 1, "{} of 2 pods were ready", cluster.fewest_ready());
    }
    Ok(())
}

/// Replaces all pods by those of another revision. At no time is a pod missing.
async fn replace(cluster: &mut Cluster, action: Action, revision: &Revision) -> Result<()> {
    let migrations = cluster.site.migrations()?;
    cluster.apply(action, revision).await?;
    ensure!(migrations == cluster.site.migrations()?, "the schema changed although it was complete");
    let before: Vec<_> = cluster.pods.iter().map(|pod| pod.name.clone()).collect();
    cluster.until(STEP_LIMIT, Cluster::is_complete).await?;
    let kept = cluster.pods.iter().find(|pod| before.contains(&pod.name));
    ensure!(kept.is_none(), "{:?} was not replaced", kept.map(|pod| &pod.name));
    ensure!(cluster.fewest_ready() >= 2, "{} of 2 pods were ready", cluster.fewest_ready());
    Ok(())
}

/// New pods refuse a wrong setting and say why. The old pods serve on, before and after the rollback.
async fn fail_and_roll_back(cluster: &mut Cluster, wrong: &Revision, back_to: &Revision) -> Result<()> {
    cluster.begin("upgrade with a wrong setting");
    let before: Vec<_> = cluster.pods.iter().map(|pod| (pod.name.clone(), pod.pid())).collect();
    cluster.apply(Action::Upgrade, wrong).await?;
    let failing = |cluster: &Cluster| cluster.pods.iter().filter(|pod| pod.crashes >= 2).count();
    cluster.until(STEP_LIMIT, |cluster| failing(cluster) == 2).await?;
    for pod in cluster.pods.iter().filter(|pod| pod.crashes > 0) {
        let checked = pod.launch.command(Some(&["--check-config"])).output()?;
        let said = String::from_utf8(checked.stderr)?;
        ensure!(!checked.status.success() && said.contains(WRONG_VARIABLE), "--check-config: {said}");
        ensure!(pod.log()?.contains(said.trim()), "the log of {} does not say: {said}", pod.name);
        cluster.record.event(&pod.name, said.trim());
    }
    cluster.begin("rollback of the wrong setting");
    ensure!(back_to.hooks(Action::Rollback)?.is_empty(), "a rollback runs hooks");
    cluster.apply(Action::Rollback, back_to).await?;
    cluster.until(STEP_LIMIT, Cluster::is_complete).await?;
    let after: Vec<_> = cluster.pods.iter().map(|pod| (pod.name.clone(), pod.pid())).collect();
    ensure!(before == after, "pods were replaced or restarted: {before:?}, then {after:?}");
    ensure!(cluster.fewest_ready() >= 2, "{} of 2 pods were ready", cluster.fewest_ready());
    Ok(())
}

async fn walk(cluster: &mut Cluster, first: &Revision) -> Result<()> {
    let render =
        |values: &[&str]| Revision::render(Action::Upgrade, values)?.context("Helm was there before");
    let second = render(&[FIRST, UPGRADE])?;
    let wrong = render(&[FIRST, UPGRADE, WRONG])?;
    let changed = first.checksums()?.iter().zip(second.checksums()?).all(|(old, new)| *old != new);
    ensure!(changed, "the checksum of the settings is the same after their change");
    install(cluster, first).await?;
    let over = Arc::new(AtomicBool::new(false));
    let playing = tokio::spawn(play_until(over.clone(), cluster.nodes()?));
    drain(cluster).await?;
    cluster.begin("upgrade");
    replace(cluster, Action::Upgrade, &second).await?;
    let log = cluster.pods.iter().map(|pod| pod.launch.variable("TIDINGS_LOG"));
    ensure!(log.clone().all(|log| log == Some("info,tidings_shared=debug")), "{:?}", log.collect::<Vec<_>>());
    fail_and_roll_back(cluster, &wrong, &second).await?;
    cluster.begin("rollback to the first revision");
    replace(cluster, Action::Rollback, first).await?;
    over.store(true, Ordering::Relaxed);
    println!("{} messages were sent", playing.await??);
    for service in ["tidings-gateway:8080", "tidings-persistence:8081"] {
        let refused = cluster.network.refused(service)?;
        ensure!(refused == 0, "{refused} connections to {service} were refused");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: drains, upgrades and rolls back a release"]
async fn rendered_release_survives_drains_upgrades_and_rollbacks() -> Result<()> {
    let Some(first) = Revision::render(Action::Install, &[FIRST])? else {
        not_checked("Helm is missing and cannot be installed");
        return Ok(());
    };
    let mut cluster = Cluster::start().await?;
    let walked = walk(&mut cluster, &first).await;
    println!("{}", cluster.record.table());
    walked
}
