//! What clients, panels and pages told about an outage, and whether it is what the objectives promise.

use std::collections::BTreeSet;
use std::time::Duration;

const PAGE_LIMIT: Duration = Duration::from_secs(60);
const OVER_LIMIT: Duration = Duration::from_secs(180);
/// The allowed difference between a panel and the clients.
const MAX_DIFFERENCE: f64 = 0.01;

pub const TABLE_HEAD: &str = "
| outage | | requests | failed, by the clients | failed, by the panel | page after | pages | over after |
| --- | --- | --- | --- | --- | --- | --- | --- |";

/// What happened to the requests of one objective.
pub struct Shares {
    pub objective: &'static str,
    pub requests: u64,
    pub failed_by_clients: f64,
    pub failed_by_panel: f64,
}

pub struct Figures {
    pub outage: &'static str,
    pub shares: [Shares; 2],
    pub incidents: usize,
    /// The alerts of all pages.
    pub alerts: BTreeSet<String>,
    /// From the begin of the outage to the first page.
    pub page_after: Option<Duration>,
    /// From the recovery to the end of the last page, if all pages ended.
    pub over_after: Option<Duration>,
}

impl Figures {
    /// The rows of the table.
    pub fn rows(&self) -> String {
        let seconds =
            |time: Option<Duration>| time.map_or("never".to_owned(), |time| format!("{} s", time.as_secs()));
        let alerts = self.alerts.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let pages = format!("{} ({alerts})", self.incidents);
        let (page, over) = (seconds(self.page_after), seconds(self.over_after));
        let row = |shares: &Shares, outage: &str, last: [&str; 3]| {
            let (clients, panel) = (shares.failed_by_clients * 100.0, shares.failed_by_panel * 100.0);
            let figures =
                format!("{} | {} | {clients:.2} % | {panel:.2} %", shares.objective, shares.requests);
            format!("| {outage} | {figures} | {} |", last.join(" | "))
        };
        let [first, second] = &self.shares;
        format!("{}\n{}", row(first, self.outage, [&page, &pages, &over]), row(second, "", [""; 3]))
    }

    /// What is not as promised.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for Shares { objective, failed_by_clients, failed_by_panel, .. } in &self.shares {
            if failed_by_panel.is_nan() || (failed_by_clients - failed_by_panel).abs() > MAX_DIFFERENCE {
                wrong.push(format!("{objective}: clients {failed_by_clients}, panel {failed_by_panel}"));
            }
        }
        if self.incidents != 1 {
            wrong.push(format!("{} pages: {:?}", self.incidents, self.alerts));
        }
        if self.page_after.is_none_or(|after| after > PAGE_LIMIT) {
            wrong.push(format!("the page came after {:?}", self.page_after));
        }
        if self.over_after.is_none_or(|after| after > OVER_LIMIT) {
            wrong.push(format!("the page was over after {:?}", self.over_after));
        }
        wrong.into_iter().map(|wrong| format!("{}: {wrong}", self.outage)).collect()
    }
}
