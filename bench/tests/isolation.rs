//! The scenarios with noisy neighbours and with reconnecting clients, at small sizes: their figures are plausible, and
//! nothing is lost.
#![allow(clippy::unwrap_used)]

use tidings_bench::results::Scenario;
use tidings_bench::scenario::storm::tails;
use tidings_bench::scenario::{Scale, Sizes, neighbours, restart};

fn quick_scale(sizes: Sizes) -> Scale {
    Scale { quick: true, samples: 1, sizes }
}

/// All samples of a figure, in all settings.
fn figure_samples<'a>(scenario: &'a Scenario, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    let figures = scenario.rows.iter().filter_map(move |row| row.figures.get(name));
    figures.flat_map(|figure| figure.samples.iter().copied())
}

#[track_caller]
fn assert_all(scenario: &Scenario, name: &str, count: usize, holds: impl Fn(f64) -> bool) {
    let found: Vec<f64> = figure_samples(scenario, name).collect();
    assert!(
        found.len() == count && found.iter().all(|value| holds(*value)),
        "{name}: {found:?}\n{scenario:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_full_tails_catch_up_beside_senders() {
    let sizes = Sizes { clients: Some(60), rooms: Some(3), rate: Some(40), ..Sizes::default() };
    let scenario = tails::run(&quick_scale(sizes)).await.unwrap();
    for figure in [
        "messages missing, doubled or out of order",
        "clients that did not catch up",
        "sends of the others that were refused or not answered",
    ] {
        assert_all(&scenario, figure, 1, |count| count == 0.0);
    }
    // A tail has nearly 64 KiB. Of it, the clients do not get at most one node of the Redis stream, and the records
    // between two cursors that were tried.
    assert_all(&scenario, "replayed (MiB)", 1, |mib| mib > 60.0 * 36.0 / 1024.0);
    for stage in ["accepted", "stored"] {
        for when in ["before", "in the storm"] {
            assert_all(&scenario, &format!("p99 until {stage}, {when} (ms)"), 1, |ms| ms > 0.0);
        }
    }
    for process in ["gateway", "redis"] {
        assert_all(&scenario, &format!("{process}: CPU s"), 1, |seconds| seconds > 0.0);
    }
    assert_all(&scenario, "gateways: most memory (MiB)", 1, |mib| mib > 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_rooms_are_measured_beside_each_noisy_neighbour() {
    let sizes = Sizes { clients: Some(40), rooms: Some(6), searches: Some(4), ..Sizes::default() };
    let scenario = neighbours::run(&quick_scale(sizes)).await.unwrap();
    for figure in ["quiet connections closed", "quiet deliveries missing"] {
        assert_all(&scenario, figure, 4, |count| count == 0.0);
    }
    assert_all(&scenario, "p99, times that without it", 4, |times| times > 0.0 && times.is_finite());
    assert_all(&scenario, "readiness of persistence: longest answer (ms)", 4, |ms| ms > 0.0);
    assert_all(&scenario, "deliveries or answers to the noise, per second", 4, |rate| rate > 0.0);
    for process in ["gateway", "redis", "quiet"] {
        assert_all(&scenario, &format!("{process}: CPU, % of a core"), 4, |percent| percent > 0.0);
    }
    // Checks only the sum, because forty waiting pollers may use less CPU time than one clock tick.
    assert!(figure_samples(&scenario, "noise: CPU, % of a core").sum::<f64>() > 0.0);
    assert_all(&scenario, "the machine: CPU, % of all cores", 4, |percent| (0.1..=100.0).contains(&percent));
    let answered = |noise: &str, answers: &[&str]| {
        let note = scenario.notes.iter().find(|note| note.starts_with(noise)).unwrap();
        for answer in answers {
            assert!(note.contains(answer), "{note}");
        }
    };
    answered("a flooding member", &["Large: ", "Signals: ", "heard: ", "rate_limited: "]);
    answered("a hot room", &["connections closed: 0", "heard: ", "given: ", "; 0 subscriptions lagged"]);
    answered("a herd of pollers", &["poll 200: "]);
    answered("an account that searches", &["search 200: "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_deliver_again_after_redis_restart() {
    let sizes = Sizes { clients: Some(40), rooms: Some(3), ..Sizes::default() };
    let scenario = restart::run(&quick_scale(sizes)).await.unwrap();
    for figure in ["deliveries missing or doubled", "connections closed", "sends not stored"] {
        assert_all(&scenario, figure, 2, |count| count == 0.0);
    }
    assert_all(&scenario, "until every room has delivered (s)", 2, |seconds| seconds > 0.0);
    assert_all(&scenario, "statements to PostgreSQL", 2, |count| count > 0.0);
    let after = "after a restart of Redis";
    assert!(scenario.median("Tidings", after, "HTTP requests from gateways to persistence") > 0.0);
    assert!(scenario.median("Tidings", after, "Redis away (s)") > 0.0);
}
