//! Alerts on faults of the monitoring itself (a rule that fails, wrong scrape targets) and on an unavailable key
//! server, because of which gateways would refuse users later. Prints a table of fault, alert and value:
//!
//!     ./dev test --long watch_blind

use crate::watch::shortened;
use std::time::Duration;

use crate::prometheus::Prometheus;
use crate::watch::scene::AlertRecorder;
use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::jwks::{KeyServer, ServerBehaviour, SigningKey};
use tidings_harness::{Client, Stack, Token};

/// Time until all targets are scraped and alerts on missing data have ended.
const WARM_UP: Duration = Duration::from_secs(15);
/// With two gateways each side of the rule's join has two series, so the rule fails.
const FAILING_RULE: &str = "groups:
  - name: broken
    rules:
      - record: job:open_fds:product
        expr: process_open_fds * on (job) process_open_fds
";

async fn break_rule(prometheus: &Prometheus, recorder: &mut AlertRecorder<'_>) -> Result<()> {
    recorder.set_current_fault("a rule finds two series where it expects one");
    prometheus.configure("rules/broken.yml", |_| FAILING_RULE.to_owned())?;
    recorder.until_firing(&["TidingsRulesFailing"]).await?;
    prometheus.configure("rules/broken.yml", |_| "groups: []\n".to_owned())?;
    recorder.until_resolved(&["TidingsRulesFailing"]).await
}

async fn break_targets(
    stack: &Stack,
    prometheus: &Prometheus,
    recorder: &mut AlertRecorder<'_>,
) -> Result<()> {
    let addresses: Vec<String> = stack.gateways().iter().map(|node| node.admin()).collect();
    let addresses: Vec<&str> = addresses.iter().map(|place| place.trim_start_matches("http://")).collect();
    let redirect = |from: usize, to: usize| {
        let own = prometheus.address();
        // Two spellings of the same address, because Prometheus merges equal targets.
        let elsewhere = [own, &own.replace("127.0.0.1", "localhost")].map(str::to_owned);
        let addresses =
            [addresses.iter().map(|place| (*place).to_owned()).collect::<Vec<_>>(), elsewhere.to_vec()];
        prometheus.configure("prometheus.yml", |text| {
            let pairs = addresses[from].iter().zip(&addresses[to]);
            pairs
                .fold(text, |text, (from, to)| text.replacen(&format!("- {from}\n"), &format!("- {to}\n"), 1))
        })
    };
    recorder.set_current_fault("the gateway targets point to another program that has metrics too");
    redirect(0, 1)?;
    recorder.until_firing(&["TidingsMetricsAbsent", "TidingsNoGateway"]).await?;
    redirect(1, 0)?;
    recorder.until_resolved(&["TidingsMetricsAbsent", "TidingsNoGateway"]).await
}

/// Connects again and again with a token of an unknown key, which makes the gateway fetch the keys.
async fn connect_with_unknown_key(ws: &str, token: &str) {
    loop {
        let _ = Client::connect(ws, token).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn break_key_server(stack: &Stack, server: &KeyServer, recorder: &mut AlertRecorder<'_>) -> Result<()> {
    recorder.set_current_fault("the key server closes connections");
    server.set_behaviour(ServerBehaviour::Down);
    let key = SigningKey::rs256("of tomorrow")?;
    let token = Token::of("eve").claim("aud", json!("tidings")).sign_with(&key);
    let ws = stack.gateway(0).ws();
    tokio::select! {
        () = connect_with_unknown_key(&ws, &token) => {}
        fired = recorder.until_firing(&["TidingsKeyFetchesFailing"]) => fired?,
    }
    server.set_behaviour(ServerBehaviour::Normal);
    tokio::select! {
        () = connect_with_unknown_key(&ws, &token) => Ok(()),
        fired = recorder.until_resolved(&["TidingsKeyFetchesFailing"]) => fired,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: alerts by real faults"]
async fn monitoring_faults_and_failing_key_fetches_fire_alerts() -> Result<()> {
    let server = KeyServer::start(&[&SigningKey::rs256("of today")?]).await?;
    let stack = Stack::builder()
        .gateways(2)
        .env("TIDINGS_JWKS_URL", server.url())
        .env("TIDINGS_JWT_AUDIENCE", "tidings")
        .start()
        .await?;
    let prometheus = Prometheus::start(&stack, shortened::shortened_rules).await?;
    tokio::time::sleep(WARM_UP).await;
    let mut recorder = AlertRecorder::of(&prometheus);
    recorder.set_current_fault("none");
    recorder.poll().await?;
    let played = async {
        break_rule(&prometheus, &mut recorder).await?;
        break_targets(&stack, &prometheus, &mut recorder).await?;
        break_key_server(&stack, &server, &mut recorder).await
    };
    let outcome = played.await;
    println!("{}", recorder.table());
    outcome?;
    ensure!(recorder.missed().is_empty(), "did not fire: {:#?}", recorder.missed());
    Ok(())
}
