//! The SQL statements of the jobs, one file for each job or look-up.

pub mod dead_letters;
pub mod erased_letters;
pub mod erasure;
pub mod export;
pub mod feed;
pub mod import;
pub mod leaving_member;
pub mod retention;
