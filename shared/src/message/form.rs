//! The fields of a message that is sent, as its sender writes them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{AckStage, AttachmentFields};
use crate::ids::{ClientId, Seq, UserId};
#[cfg(feature = "openapi")]
use crate::{
    message::Attachment,
    openapi::{LabelForm, MessageSeqForm, MessageTextForm, MetadataForm, mentions_schema},
};

/// The body of a send, as for `message:send`.
#[derive(Debug, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(as = Send, examples(json!({"client_id": "0198f2c4-8e7a-7c31-9d42-6b1f0e5a7c90", "content": "Tea is ready"})))
)]
pub struct SendForm {
    pub client_id: ClientId,
    /// Empty or omitted only with attachments.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<MessageTextForm>))]
    pub content: Option<String>,
    /// `text` if omitted.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<LabelForm>))]
    pub kind: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<MessageSeqForm>))]
    pub reply_to: Option<Seq>,
    pub visible_to: Option<VisibleTo>,
    #[cfg_attr(feature = "openapi", schema(schema_with = mentions_schema))]
    pub mentions: Option<Vec<UserId>>,
    #[cfg_attr(feature = "openapi", schema(max_items = 10, value_type = Option<Vec<Attachment>>))]
    pub attachments: Option<Vec<AttachmentFields>>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<MetadataForm>))]
    pub metadata: Option<Box<RawValue>>,
    /// 1 promises that this client id was never sent before.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64))]
    pub attempt: Option<u32>,
    /// `stored` if omitted.
    pub ack: Option<AckStage>,
}

/// The users and roles of `visible_to`; either may be absent.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = SendVisibleTo))]
pub struct VisibleTo {
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub users: Option<Vec<UserId>>,
    #[cfg_attr(feature = "openapi", schema(max_items = 100, value_type = Option<Vec<LabelForm>>))]
    pub roles: Option<Vec<String>>,
}
