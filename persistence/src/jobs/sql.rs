//! The SQL statements of the jobs, one file for each job or look-up.

pub mod after_restore;
pub mod dead_letters;
pub mod export;
pub mod feed;
pub mod import;
pub mod retention;
