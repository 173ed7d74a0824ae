//! Schemas of the OpenAPI document that combine shared types: the events of a log, and request bodies.

mod bodies;
mod events;

pub use bodies::{ChangeForm, EditForm, PresenceSetForm, SendForm};
pub use events::EventForm;
