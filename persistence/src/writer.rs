//! All SQL of the service that writes: the log and its bookkeeping (batches, leases, epochs, seeds, voids), rooms and
//! users. Related changes are committed together. After an error none of them is written, unless only the answer to the
//! COMMIT was lost. A partition is written only if its locked row is as expected.

pub mod audit;
pub mod batch;
pub mod daily_limits;
pub mod epoch_merge;
pub mod epochs;
pub mod erased_letters;
pub mod erasure;
pub mod failure;
pub mod leases;
pub mod limit;
pub mod lost_commits;
pub mod members;
pub mod outcome;
pub mod rooms;
pub mod search;
pub mod seeds;
pub mod users;
pub mod voids;

mod changes;
mod rows;
mod settling;

pub use settling::Settling;
