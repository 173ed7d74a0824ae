//! The schema of Tidings' PostgreSQL database, as an ordered list of migrations.
//! Changes only the database it is given. Each `up` has a `down` that removes everything that `up` made. A migration
//! that is already applied is not applied again.

pub mod address;
pub mod command;
mod feed;
pub mod m0001_users_rooms_members;
pub mod m0002_messages_events;
pub mod m0003_partitions_epochs;
pub mod m0004_search_retention_erasure;
pub mod m0005_changes_of_messages;
pub mod m0006_owners;
pub mod m0007_words_in_bulk;
pub mod m0008_updates_in_place;
pub mod m0009_search_blocks;
pub mod m0010_messages_by_sender;
pub mod m0011_batches;
pub mod m0012_slow_mode;
pub mod m0013_mentions;
pub mod m0014_epochs_of_partitions;
pub mod m0015_feed;
pub mod m0017_webhooks;
pub mod m0018_files;
pub mod m0019_push;
pub mod m0020_push_told;
pub mod m0021_previews;
pub mod m0022_file_uploads;
pub mod m0023_emptied_files;
pub mod m0024_file_parts;
pub mod m0025_push_tickets;
pub mod m0026_rejoin_roles;
pub mod m0027_daily_usage;
pub mod m0028_emoji_forms;
pub mod m0029_audit_log;
pub mod m0030_search_folding;
pub mod online;
pub mod reachable;
pub mod schema;
pub mod sqlstate;

use async_trait::async_trait;
use online::OnlineMigration;
use sea_orm_migration::prelude::*;

/// A migration made of SQL texts, because the query builder cannot express `COLLATE "C"`, triggers and storage
/// parameters. Runs in one transaction, so it holds its locks until it ends. A migration that touches a large table is
/// an [`OnlineMigration`] instead.
struct SqlMigration {
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

impl MigrationName for SqlMigration {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait]
impl MigrationTrait for SqlMigration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(self.up).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(self.down).await.map(drop)
    }
}

/// Makes a list of migrations from modules that contain `UP` and `DOWN`. A migration has the name of its module.
macro_rules! migrations {
    ($($module:ident)+) => {
        vec![$(Box::new(SqlMigration { name: stringify!($module), up: $module::UP, down: $module::DOWN }) as Box<dyn MigrationTrait>),+]
    };
}

/// All migrations in the order in which they are applied.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = migrations![
            m0001_users_rooms_members
            m0002_messages_events
            m0003_partitions_epochs
            m0004_search_retention_erasure
            m0005_changes_of_messages
            m0006_owners
            m0007_words_in_bulk
            m0008_updates_in_place
            m0009_search_blocks
        ];
        migrations.push(Box::new(OnlineMigration {
            name: "m0010_messages_by_sender",
            up: m0010_messages_by_sender::UP,
            down: m0010_messages_by_sender::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0011_batches",
            up: m0011_batches::UP,
            down: m0011_batches::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0012_slow_mode",
            up: m0012_slow_mode::UP,
            down: m0012_slow_mode::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0013_mentions",
            up: m0013_mentions::UP,
            down: m0013_mentions::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0014_epochs_of_partitions",
            up: m0014_epochs_of_partitions::UP,
            down: m0014_epochs_of_partitions::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0015_feed",
            up: m0015_feed::UP,
            down: m0015_feed::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0017_webhooks",
            up: m0017_webhooks::UP,
            down: m0017_webhooks::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0018_files",
            up: m0018_files::UP,
            down: m0018_files::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0019_push",
            up: m0019_push::UP,
            down: m0019_push::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0020_push_told",
            up: m0020_push_told::UP,
            down: m0020_push_told::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0021_previews",
            up: m0021_previews::UP,
            down: m0021_previews::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0022_file_uploads",
            up: m0022_file_uploads::UP,
            down: m0022_file_uploads::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0023_emptied_files",
            up: m0023_emptied_files::UP,
            down: m0023_emptied_files::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0024_file_parts",
            up: m0024_file_parts::UP,
            down: m0024_file_parts::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0025_push_tickets",
            up: m0025_push_tickets::UP,
            down: m0025_push_tickets::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0026_rejoin_roles",
            up: m0026_rejoin_roles::UP,
            down: m0026_rejoin_roles::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0027_daily_usage",
            up: m0027_daily_usage::UP,
            down: m0027_daily_usage::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0028_emoji_forms",
            up: m0028_emoji_forms::UP,
            down: m0028_emoji_forms::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0029_audit_log",
            up: m0029_audit_log::UP,
            down: m0029_audit_log::DOWN,
        }));
        migrations.push(Box::new(OnlineMigration {
            name: "m0030_search_folding",
            up: m0030_search_folding::UP,
            down: m0030_search_folding::DOWN,
        }));
        migrations
    }
}
