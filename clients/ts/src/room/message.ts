import { omitNullish } from "../omit-nullish.js";
import { type Entry, toOutboxEntry } from "../outbox/entry.js";
import { filterShape, SHAPES } from "../protocol/check.js";
import type { MessageNew } from "../protocol/frames.js";
import type { AttachmentObject, MessageObject, ReactionObject } from "../protocol/objects.js";
import type { Message } from "../types.js";

/**
 * Makes the key of a row (a message as the app gets it) from the sender and the client id. The sender is empty for the
 * user's own messages, so that the key is the same before the user id is known. User ids contain no space.
 */
const rowKey = (clientId: string, sender = ""): string => `${sender} ${clientId}`;

/** A message in an event or in an HTTP answer. */
type WireMessage = Omit<MessageNew, "type"> & Partial<Pick<MessageObject, "reactions" | "last_seq">>;

/** Makes a row from a message of an event or an HTTP answer. `me` is the id of the current user. */
export function toMessage(source: WireMessage, me: string | undefined): Message {
  const { id, name, picture } = source.sender;
  return omitNullish({
    key: rowKey(source.client_id, id === me ? "" : id),
    seq: source.seq,
    id: source.id,
    clientId: source.client_id,
    room: source.room,
    sender: omitNullish({ id, name: name || undefined, picture: picture || undefined }),
    mine: id === me,
    kind: source.kind,
    content: source.content,
    at: Date.parse(source.at) || 0,
    editedAt: Date.parse(source.edited_at as string) || undefined,
    deleted: !!source.deleted,
    deletedBy: source.deleted_by,
    replyTo: source.reply_to,
    attachments: filterShape<AttachmentObject>(source.attachments, SHAPES.attachment).map(
      ({ media_type: mediaType, ...rest }) => ({ ...rest, mediaType }),
    ),
    metadata: source.metadata,
    visibleTo: source.visible_to,
    mentions: source.mentions,
    reactions: filterShape<ReactionObject>(source.reactions, SHAPES.reaction),
    lastSeq: source.last_seq ?? source.seq,
    status: "sent" as const,
    stored: true,
  });
}

/** Makes the row of a message in the outbox. `me` is the current user. */
export function toPendingMessage(entry: Entry, me: { id: string; name?: string } | undefined): Message {
  const { clientId, room, content, options, acceptance, error } = entry;
  const id = me?.id ?? entry.user ?? "";
  return omitNullish({
    key: rowKey(clientId),
    ...acceptance,
    clientId,
    room,
    sender: omitNullish({ id, name: me?.name }),
    mine: true,
    kind: "text",
    content,
    deleted: false,
    attachments: [],
    ...options,
    at: acceptance?.at ?? entry.at,
    reactions: [],
    lastSeq: acceptance?.seq ?? 0,
    status: toOutboxEntry(entry).status,
    retryAt: toOutboxEntry(entry).retryAt,
    stored: false,
    error,
  }) as unknown as Message;
}
