//! Alerts of what makes watching blind, or will keep people out later: a rule that fails, gateways that are asked at the
//! wrong place, a server of keys that is away. By hand, with a table of fault, alert and value:
//!
//!     ./dev test --long watch_blind

use crate::watch::shortened;
use std::time::Duration;

use crate::prometheus::Prometheus;
use crate::watch::scene::Scene;
use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::jwks::{Day, KeyServer, SigningKey};
use tidings_harness::{Client, Stack, Token};

/// Until all targets were asked, and what was missing is not.
const CALM: Duration = Duration::from_secs(15);
/// Two gateways, so two series for each of the other side's.
const FAILING: &str = "groups:
  - name: broken
    rules:
      - record: job:open_fds:product
        expr: process_open_fds * on (job) process_open_fds
";

async fn rules(prometheus: &Prometheus, scene: &mut Scene<'_>) -> Result<()> {
    scene.fault("a rule finds two series where it expects one");
    prometheus.configure("rules/broken.yml", |_| FAILING.to_owned())?;
    scene.until(&["TidingsRulesFailing"]).await?;
    prometheus.configure("rules/broken.yml", |_| "groups: []\n".to_owned())?;
    scene.calm(&["TidingsRulesFailing"]).await
}

async fn targets(stack: &Stack, prometheus: &Prometheus, scene: &mut Scene<'_>) -> Result<()> {
    let places: Vec<String> = stack.gateways().iter().map(|node| node.admin()).collect();
    let places: Vec<&str> = places.iter().map(|place| place.trim_start_matches("http://")).collect();
    let led = |from: usize, to: usize| {
        let own = prometheus.place();
        // One after the other: two targets with one address would be one.
        let elsewhere = [own, &own.replace("127.0.0.1", "localhost")].map(str::to_owned);
        let places = [places.iter().map(|place| (*place).to_owned()).collect::<Vec<_>>(), elsewhere.to_vec()];
        prometheus.configure("prometheus.yml", |text| {
            let pairs = places[from].iter().zip(&places[to]);
            pairs
                .fold(text, |text, (from, to)| text.replacen(&format!("- {from}\n"), &format!("- {to}\n"), 1))
        })
    };
    scene.fault("the targets of the gateways lead to somebody else, who has metrics too");
    led(0, 1)?;
    scene.until(&["TidingsMetricsAbsent", "TidingsNoGateway"]).await?;
    led(1, 0)?;
    scene.calm(&["TidingsMetricsAbsent", "TidingsNoGateway"]).await
}

/// Somebody with a token whose key nobody knows has the keys looked for again and again.
async fn stranger(ws: &str, token: &str) {
    loop {
        let _ = Client::connect(ws, token).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn keys(stack: &Stack, server: &KeyServer, scene: &mut Scene<'_>) -> Result<()> {
    scene.fault("the server of the keys hangs up");
    server.turn(Day::Down);
    let key = SigningKey::rs256("of tomorrow")?;
    let token = Token::of("eve").claim("aud", json!("tidings")).sign_with(&key);
    let ws = stack.gateway(0).ws();
    tokio::select! {
        () = stranger(&ws, &token) => {}
        seen = scene.until(&["TidingsKeyFetchesFailing"]) => seen?,
    }
    server.turn(Day::Good);
    tokio::select! {
        () = stranger(&ws, &token) => Ok(()),
        seen = scene.calm(&["TidingsKeyFetchesFailing"]) => seen,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: alerts by real faults"]
async fn what_makes_watching_blind_or_keeps_people_out_later_fires_an_alert() -> Result<()> {
    let server = KeyServer::start(&[&SigningKey::rs256("of today")?]).await?;
    let stack = Stack::builder()
        .gateways(2)
        .env("TIDINGS_JWKS_URL", server.url())
        .env("TIDINGS_JWT_AUDIENCE", "tidings")
        .start()
        .await?;
    let prometheus = Prometheus::start(&stack, shortened::rules).await?;
    tokio::time::sleep(CALM).await;
    let mut scene = Scene::of(&prometheus);
    scene.fault("none");
    scene.look().await?;
    let played = async {
        rules(&prometheus, &mut scene).await?;
        targets(&stack, &prometheus, &mut scene).await?;
        keys(&stack, &server, &mut scene).await
    };
    let outcome = played.await;
    println!("{}", scene.table());
    outcome?;
    ensure!(scene.missed().is_empty(), "did not fire: {:#?}", scene.missed());
    Ok(())
}
