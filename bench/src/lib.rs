//! Benchmarks that anybody can reproduce with one command: Tidings and alternatives on the same machine, in the same
//! run, under the same load. Servers are child processes, used only through their ports. See docs/BENCHMARKS.md.

pub mod dialect;
pub mod guard;
pub mod load;
pub mod machine;
pub mod peers;
pub mod processes;
pub mod report;
pub mod results;
pub mod scenario;
