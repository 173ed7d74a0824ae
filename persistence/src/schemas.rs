//! The schema of the OpenAPI document for the events of a log, which combines shared types.

mod events;

pub use events::EventForm;
