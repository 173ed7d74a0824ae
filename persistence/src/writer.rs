//! All SQL that writes the log and its bookkeeping: batches, leases, epochs, seeds, voids.
//! Promises that what belongs together commits together, and that nothing is written for a partition whose row was
//! not found as expected under its lock.

pub mod batch;
pub mod dead_letters;
pub mod epochs;
pub mod erase;
pub mod failure;
pub mod leases;
pub mod limit;
pub mod members;
pub mod presence;
pub mod retention;
pub mod search;
pub mod seeds;
pub mod sql;
pub mod voids;

mod changes;
mod room_updates;
mod rows;
mod settling;

pub use settling::Settling;
