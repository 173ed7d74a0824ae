//! Finds panics of services. A client may only see a closed connection, which other faults cause too.

use anyhow::{Context, Result};

use crate::Stack;

/// Lines that are reported of each panic: its location and its message.
const LINES: usize = 2;

/// The panics of all nodes, including restarted ones, because a node continues its log.
pub(super) fn panics(stack: &Stack) -> Result<Vec<String>> {
    let mut panics = Vec::new();
    for (number, node) in stack.gateways().iter().chain(stack.persistence_nodes()).enumerate() {
        let log = node.log().with_context(|| format!("the log of node {number}"))?;
        panics.extend(of(&log).into_iter().map(|what| format!("{}: {what}", node.service().program())));
    }
    Ok(panics)
}

fn of(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    let panicked = lines.iter().enumerate().filter(|(_, line)| line.contains("panicked"));
    panicked
        .map(|(number, _)| lines[number..].iter().take(LINES).copied().collect::<Vec<_>>().join(" "))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_is_found_with_its_location_and_message() {
        let log = "it starts\n\nthread 'tokio-runtime-worker' (7) panicked at gateway/src/bus.rs:3:5:\nno redis\n\
                   note: run with `RUST_BACKTRACE=1`\nthe database is out of reach\n";
        let told = of(log);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("bus.rs:3:5") && told[0].ends_with("no redis"), "{told:?}");
        assert!(of("the database is out of reach\n").is_empty());
    }
}
