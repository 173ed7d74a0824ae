//! Finds panics of services in their logs. A client would see only a closed connection, which injected faults cause
//! too.

use anyhow::{Context, Result};

use crate::Stack;

/// Number of log lines that are reported for each panic: its location and its message.
const LINES_PER_PANIC: usize = 2;

/// The panics in the logs of all nodes, also those from before a restart, because a restarted node appends to its log.
pub(super) fn panics_in_logs(stack: &Stack) -> Result<Vec<String>> {
    let mut panics = Vec::new();
    for (number, node) in stack.gateways().iter().chain(stack.persistence_nodes()).enumerate() {
        let log = node.log().with_context(|| format!("the log of node {number}"))?;
        panics.extend(
            find_panics(&log).into_iter().map(|what| format!("{}: {what}", node.service().program())),
        );
    }
    Ok(panics)
}

/// The panics in a log.
pub(super) fn find_panics(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    let panicked = lines.iter().enumerate().filter(|(_, line)| line.contains("panicked"));
    panicked
        .map(|(number, _)| {
            lines[number..].iter().take(LINES_PER_PANIC).copied().collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_is_found_with_its_location_and_message() {
        let log = "it starts\n\nthread 'tokio-runtime-worker' (7) panicked at gateway/src/bus.rs:3:5:\nno redis\n\
                   note: run with `RUST_BACKTRACE=1`\nthe database is out of reach\n";
        let found = find_panics(log);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("bus.rs:3:5") && found[0].ends_with("no redis"), "{found:?}");
        assert!(find_panics("the database is out of reach\n").is_empty());
    }
}
