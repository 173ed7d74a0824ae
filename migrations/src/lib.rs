//! The schema of Tidings' PostgreSQL database, as an ordered list of migrations.
//! Touches only the database it is given. Each `up` has a `down` that removes everything that `up` made, and applying
//! an applied migration again does nothing.

pub mod address;
pub mod command;
pub mod m0001_users_rooms_members;
pub mod m0002_messages_events;
pub mod m0003_partitions_epochs;
pub mod m0004_search_retention_erasure;
pub mod m0005_changes_of_messages;
pub mod m0006_owners;
pub mod m0007_words_in_bulk;
pub mod m0008_updates_in_place;
pub mod schema;

use async_trait::async_trait;
use sea_orm_migration::prelude::*;

/// All migrations in the order in which they are applied.
pub struct Migrator;

#[async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_users_rooms_members::Migration),
            Box::new(m0002_messages_events::Migration),
            Box::new(m0003_partitions_epochs::Migration),
            Box::new(m0004_search_retention_erasure::Migration),
            Box::new(m0005_changes_of_messages::Migration),
            Box::new(m0006_owners::Migration),
            Box::new(m0007_words_in_bulk::Migration),
            Box::new(m0008_updates_in_place::Migration),
        ]
    }
}
