//! Every counter exists with 0 from the start of a node on, with each value of its labels that is known in advance. So
//! `rate` and `increase` see the first event of a series.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Client, Http, Node, Stack, TokenBy};

/// The declarations of the metrics of both services.
const DECLARATIONS: [(&str, &str); 2] = [
    ("tidings_gateway_", include_str!("../../../gateway/src/metrics.rs")),
    ("tidings_persistence_", include_str!("../../../persistence/src/metrics.rs")),
];

/// The page that lists the close codes of the server.
const PROTOCOL: &str = include_str!("../../../docs/PROTOCOL.md");

/// The close codes of the protocol.
fn close_codes() -> BTreeSet<String> {
    let table = PROTOCOL.split("### Close codes").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = table.unwrap_or_default().lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split('|').next());
    cells
        .flat_map(|cell| cell.split('`'))
        .filter(|text| text.parse::<u16>().is_ok())
        .map(str::to_owned)
        .collect()
}

/// The routes of the OpenAPI document with their statuses.
async fn documented_answers(stack: &Stack) -> Result<BTreeSet<(String, String)>> {
    let document = stack.http("nobody").with_token("").get("/openapi.json").await?.expect(200).body;
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().context("no paths")? {
        for responses in item.as_object().into_iter().flat_map(|item| item.values()) {
            let statuses = responses["responses"].as_object().into_iter().flat_map(|all| all.keys());
            found.extend(statuses.map(|status| (path.clone(), status.clone())));
        }
    }
    Ok(found)
}

/// The value of a label of a series.
fn label<'a>(series: &'a str, name: &str) -> &'a str {
    let rest = series.split(&format!("{name}=\"")).nth(1).unwrap_or_default();
    rest.split('"').next().unwrap_or_default()
}

/// Whether others choose a label value of the series: a close code of the peer, or the status of a request that the
/// OpenAPI document does not have, such as one with a wrong method.
fn is_open(series: &str, answers: &BTreeSet<(String, String)>) -> bool {
    if series.starts_with("tidings_gateway_closes_total{") {
        let code = label(series, "code");
        return code.starts_with("44") && !close_codes().contains(code);
    }
    let answer = (label(series, "route").to_owned(), label(series, "status").to_owned());
    series.starts_with("tidings_persistence_http_requests_total{") && !answers.contains(&answer)
}

/// The names and kinds of the metrics that a service declares.
fn declared(source: &str) -> Vec<(String, String)> {
    let lines = source.lines().filter_map(|line| line.trim().split_once(": "));
    let found = lines.filter_map(|(_, rest)| {
        let kind: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
        let name = rest.split_once("= \"tidings_")?.1.split('"').next()?;
        Some((kind, format!("tidings_{name}")))
    });
    found.collect()
}

/// The series of counters and histograms on a page of metrics, without buckets.
fn counted_series(page: &str) -> BTreeSet<String> {
    let counted = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        line.starts_with("tidings_") && (name.ends_with("_total") || name.ends_with("_count"))
    };
    let series = page.lines().filter(counted).filter_map(|line| line.rsplit_once(' '));
    series.map(|(series, _)| series.to_owned()).collect()
}

/// The series that are on the second page only, and whose labels are not open.
fn late_series(first: &str, second: &str, answers: &BTreeSet<(String, String)>) -> Vec<String> {
    let first = counted_series(first);
    let late = counted_series(second).into_iter().filter(|series| !first.contains(series));
    late.filter(|series| !is_open(series, answers)).collect()
}

#[tokio::test]
async fn every_declared_counter_has_a_series_after_start() -> Result<()> {
    let stack = Stack::start().await?;
    for (prefix, source) in DECLARATIONS {
        let node = if prefix.contains("gateway") { stack.gateway(0) } else { stack.persistence(0) };
        let (page, declared) = (node.metrics().await?, declared(source));
        ensure!(declared.len() > 25, "{prefix}: only {} declarations were understood", declared.len());
        let counters =
            declared.iter().filter(|(kind, _)| kind.contains("Counter") || kind.contains("Histogram"));
        let begins = |line: &str, name: &str| {
            line.strip_prefix(name).is_some_and(|rest| {
                let rest = rest.strip_prefix("_count").unwrap_or(rest);
                rest.starts_with(['{', ' '])
            })
        };
        let missing: Vec<&String> = counters
            .map(|(_, name)| name)
            .filter(|name| !page.lines().any(|line| begins(line, name)))
            .collect();
        ensure!(missing.is_empty(), "without a series: {missing:?}");
    }
    Ok(())
}

#[tokio::test]
async fn close_codes_and_documented_answers_have_series_after_start() -> Result<()> {
    let stack = Stack::start().await?;
    let closes = counted_series(&stack.gateway(0).metrics().await?);
    let codes = close_codes();
    ensure!(
        codes.contains("4413") && codes.len() >= 10,
        "the table of close codes was not understood: {codes:?}"
    );
    for code in codes {
        ensure!(
            closes.contains(&format!("tidings_gateway_closes_total{{code=\"{code}\"}}")),
            "close code {code}"
        );
    }
    let requests = counted_series(&stack.persistence(0).metrics().await?);
    let answers = documented_answers(&stack).await?;
    ensure!(answers.iter().filter(|(_, status)| status == "503").count() > 10, "few routes: {answers:?}");
    for (route, status) in answers {
        let series =
            format!("tidings_persistence_http_requests_total{{route=\"{route}\",status=\"{status}\"}}");
        ensure!(requests.contains(&series), "{series}");
    }
    Ok(())
}

/// Makes as many kinds of events as a short test can: accepted and refused commands, an accepted and a refused poll,
/// live frames, presence, closes, and a pause of Redis.
async fn make_events(stack: &Stack) -> Result<()> {
    let http = stack.http("ann");
    let room = http.new_room(&["ben"]).await?;
    let (ann, ben) = (stack.connect("ann").await?, stack.connect("ben").await?);
    let later = Client::connect_by(TokenBy::FirstFrame, &stack.gateway(0).ws(), &stack.token("ann")).await?;
    Client::connect(&stack.gateway(0).ws(), "wrong").await.err().context("a wrong token was accepted")?;
    for client in [&ann, &ben, &later] {
        client.join_and_catch_up(&room).await?;
    }
    ann.send(&room, "hello").await?;
    ann.send("nowhere", "hello").await.err().context("there is no such room")?;
    ann.send_json(&json!({"type": "typing:start", "room": room})).await?;
    ann.send_json(&json!({"type": "presence:set", "status": "away"})).await?;
    ann.send_json(&json!({"type": "no such frame"})).await?;
    http.messages(&room, "").await?.expect(200);
    http.post("/rooms", json!({"kind": "wrong"})).await?.expect(400);
    http.remove_member(&room, "ben").await?;
    stack.redis().pause()?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    stack.redis().resume()?;
    let polls = Http::new(&stack.gateway(0).url(), &stack.token("ann"));
    polls.post("/poll", json!({"timeout_ms": 0})).await?.expect(200);
    polls.with_token("wrong").post("/poll", json!({})).await?.expect(401);
    ann.close().await?;
    Ok(())
}

#[tokio::test]
async fn events_create_no_series_of_known_labels() -> Result<()> {
    let stack = Stack::start().await?;
    let nodes: [&Node; 2] = [stack.gateway(0), stack.persistence(0)];
    let first = [nodes[0].metrics().await?, nodes[1].metrics().await?];
    make_events(&stack).await?;
    let answers = documented_answers(&stack).await?;
    for (node, first) in nodes.into_iter().zip(&first) {
        let late = late_series(first, &node.metrics().await?, &answers);
        ensure!(late.is_empty(), "these series did not exist before their first event: {late:#?}");
    }
    Ok(())
}

#[test]
fn series_that_appears_late_is_reported() {
    let answers = BTreeSet::from([("/v1/me".to_owned(), "503".to_owned())]);
    let first = "tidings_gateway_a_total{x=\"1\"} 0\n";
    let second = "tidings_gateway_a_total{x=\"1\"} 1\ntidings_gateway_a_total{x=\"2\"} 1\n";
    assert_eq!(late_series(first, second, &answers), ["tidings_gateway_a_total{x=\"2\"}"]);
    assert!(late_series(second, second, &answers).is_empty());
    assert!(late_series("", "tidings_gateway_closes_total{code=\"4444\"} 1\n", &answers).is_empty());
    assert_eq!(late_series("", "tidings_gateway_closes_total{code=\"4413\"} 1\n", &answers).len(), 1);
    let requests = |status| {
        format!("tidings_persistence_http_requests_total{{route=\"/v1/me\",status=\"{status}\"}} 1\n")
    };
    assert!(late_series("", &requests("405"), &answers).is_empty());
    assert_eq!(late_series("", &requests("503"), &answers).len(), 1);
}
