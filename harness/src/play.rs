//! Plays real conversations through a running system, and compares every received copy with the sent messages.
//! Touches only the public ports of the nodes, like any client, and relies only on its own records.

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
