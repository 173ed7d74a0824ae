//! Plays real conversations through a running system, and compares every received copy with the sent messages.
//! Touches only the public ports of the nodes, like any client. The comparison uses only what its own clients recorded.

pub mod history;
pub mod kit;
pub mod outcome;
pub mod player;
pub mod report;
pub mod room_view;
pub mod run;
pub mod transcript;
pub mod users;
pub mod verdict;
