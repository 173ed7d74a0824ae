//! Figures that a sceptic can reproduce with one command: Tidings and what else one would use, on the same machine,
//! in the same run, under the same load.
//! Servers are child processes, known by their ports and frames only. See docs/BENCHMARKS.md.

pub mod dialect;
pub mod guard;
pub mod load;
pub mod machine;
pub mod peers;
pub mod processes;
pub mod report;
pub mod results;
pub mod scenario;
