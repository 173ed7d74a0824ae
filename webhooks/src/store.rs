//! All SQL of the webhooks: the table of endpoints, and the table of deliveries with the dead letters.

pub mod dead_letters;
pub mod deliveries;
pub mod endpoints;
pub mod totals;
