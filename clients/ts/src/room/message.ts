import { type Entry, shown } from "../outbox/entry.js";
import { FORMS, only } from "../protocol/check.js";
import type { MessageNew } from "../protocol/frames.js";
import type { MessageObject, ReactionObject } from "../protocol/objects.js";
import { tidy } from "../tidy.js";
import type { Message } from "../types.js";

/**
 * The key of a row: the client id, and who gave it where it is not one's own. One's own is the same before it
 * is known who one is. No user id has a space in it.
 */
const keyOf = (clientId: string, sender = ""): string => `${sender} ${clientId}`;

/** A message as an event tells it, or as HTTP does. */
type Source = Omit<MessageNew, "type"> & Partial<Pick<MessageObject, "reactions" | "last_seq">>;

/** Makes a row of a message as an event or HTTP tells it. `me` is one's own user id. */
export function toMessage(source: Source, me: string | undefined): Message {
  const { id, name, picture } = source.sender;
  return tidy({
    key: keyOf(source.client_id, id === me ? "" : id),
    seq: source.seq,
    id: source.id,
    clientId: source.client_id,
    room: source.room,
    sender: tidy({ id, name: name || undefined, picture: picture || undefined }),
    mine: id === me,
    kind: source.kind,
    content: source.content,
    at: Date.parse(source.at) || 0,
    editedAt: (source.edited_at && Date.parse(source.edited_at)) || undefined,
    deleted: source.deleted === true,
    replyTo: source.reply_to ?? undefined,
    attachments: source.attachments ?? [],
    metadata: source.metadata ?? undefined,
    visibleTo: source.visible_to ?? undefined,
    reactions: only<ReactionObject>(source.reactions, FORMS.reaction),
    lastSeq: source.last_seq ?? source.seq,
    status: "sent" as const,
    stored: true,
  });
}

/** The row of a message that is on its way. */
export function pendingMessage(entry: Entry, me: { id: string; name?: string } | undefined): Message {
  const { clientId, room, content, options, place, error } = entry;
  const id = me?.id ?? entry.user ?? "";
  return tidy({
    key: keyOf(clientId),
    ...place,
    clientId,
    room,
    sender: tidy({ id, name: me?.name }),
    mine: true,
    kind: "text",
    content,
    deleted: false,
    attachments: [],
    ...options,
    at: place?.at ?? entry.at,
    reactions: [],
    lastSeq: place?.seq ?? 0,
    status: shown(entry).status,
    stored: false,
    error,
  }) as unknown as Message;
}
