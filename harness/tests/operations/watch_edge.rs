//! Outages with real services, in real time. Clients behind the shipped HAProxy count for themselves what was answered
//! 5xx. The panels of a real Prometheus with the shipped rules and intervals must show the same share, and a real
//! Alertmanager with the shipped routes must page once, and end the page. Each outage has a system of its own. All of
//! them run at the same time, because each takes up to twelve minutes.

use std::time::Duration;

use crate::watch::exporters;
use crate::watch::figures::{Figures, TABLE_HEAD};
use crate::watch::outage::Scene;
use anyhow::{Result, ensure};
use tidings_harness::{Node, tls};
use tokio::time::{Instant, sleep, sleep_until};

const OUTAGE: Duration = Duration::from_secs(90);
/// The recorded rates are of two minutes and a scrape takes place every 15 s, so a share of a shorter outage is less exact
/// than 1 %.
const LONG_OUTAGE: Duration = Duration::from_secs(300);
/// Lifetime of the certificate that expires during the test. The scene starts in less time.
const SHORT_LIFETIME: Duration = Duration::from_secs(150);

async fn play_postgres_outage() -> Result<Figures> {
    let scene = Scene::start("PostgreSQL is away for 300 s", 2).await?;
    let load = scene.warm_up().await?;
    let begun = Instant::now();
    scene.stack.database().server().kill();
    sleep(LONG_OUTAGE).await;
    scene.stack.database().server().restart().await?;
    scene.observe_recovery(load, begun).await
}

async fn play_redis_outage() -> Result<Figures> {
    let scene = Scene::start("Redis is away for 300 s", 2).await?;
    let load = scene.warm_up().await?;
    let begun = Instant::now();
    scene.stack.redis().kill();
    sleep(LONG_OUTAGE).await;
    scene.stack.redis().restart().await?;
    exporters::create_users(&scene.stack).await?;
    scene.observe_recovery(load, begun).await
}

async fn play_zone_outage() -> Result<Figures> {
    let scene = Scene::start("two gateways of four are away for 90 s", 4).await?;
    let load = scene.warm_up().await?;
    let zone = &scene.stack.gateways()[2..];
    let begun = Instant::now();
    zone.iter().for_each(Node::kill);
    sleep(OUTAGE).await;
    for gateway in zone {
        gateway.restart().await?;
    }
    scene.observe_recovery(load, begun).await
}

/// The certificate ends while HAProxy uses it, and is replaced later.
async fn play_ended_certificate() -> Result<Figures> {
    let scene = Scene::start("the certificate has ended for 90 s", 2).await?;
    let begun = Instant::now() + SHORT_LIFETIME;
    let authority = tls::authority()?;
    scene.balancer.replace_identity(&authority.short_identity(&["localhost"], SHORT_LIFETIME)?).await?;
    let load = scene.warm_up().await?;
    sleep_until(begun).await;
    ensure!(load.connects.without_answer() == 0, "clients refuse a certificate that is valid");
    sleep(OUTAGE).await;
    // A client that refuses the certificate sends no request, so neither client nor edge counts a failure.
    ensure!(load.connects.without_answer() > 0, "no client refuses the certificate");
    scene.balancer.replace_identity(&authority.identity(&["localhost"])?).await?;
    scene.observe_recovery(load, begun).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: outages in real time"]
async fn outage_pages_once_and_panels_match_clients() -> Result<()> {
    let (postgres, redis, zone, certificate) = tokio::join!(
        play_postgres_outage(),
        play_redis_outage(),
        play_zone_outage(),
        play_ended_certificate(),
    );
    println!("{TABLE_HEAD}");
    let mut wrong = Vec::new();
    for played in [postgres, redis, zone, certificate] {
        match played {
            Ok(figures) => {
                println!("{}", figures.rows());
                wrong.extend(figures.wrong());
            }
            Err(error) => wrong.push(format!("{error:?}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
