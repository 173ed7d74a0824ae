//! Real conversations through a running system, every copy checked against what was sent.
//! Touches the public ports of the nodes only, as any client would; believes nothing but its own records.

pub mod cast;
pub mod heard;
pub mod history;
pub mod kit;
pub mod outcome;
pub mod player;
pub mod report;
pub mod run;
pub mod transcript;
pub mod verdict;
