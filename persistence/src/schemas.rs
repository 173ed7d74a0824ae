//! Schemas of the OpenAPI document that combine shared types: the events of a log, and bodies of requests.

mod bodies;
mod events;

pub use bodies::{ChangeForm, EditForm, PresenceSetForm, SendForm};
pub use events::EventForm;
