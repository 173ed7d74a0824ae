import type { TidingsError } from "../errors.js";
import { omitNullish } from "../omit-nullish.js";
import type { ClientFrame } from "../protocol/frames.js";
import type { Message, OutboxEntry, SendOptions } from "../types.js";

/** The position that the server gave to an accepted message. `at` is in milliseconds since 1970. */
export interface Acceptance {
  readonly seq: number;
  readonly id: string;
  readonly at: number;
}

/** A message in the outbox, in the kit's internal form. */
export interface Entry {
  readonly clientId: string;
  readonly room: string;
  readonly content: string;
  readonly options: SendOptions;
  /** When the user wrote the message, in milliseconds since 1970. */
  readonly at: number;
  /** The id of the author; undefined until it is known. */
  user?: string | undefined;
  /** How often the message may have been sent. */
  tries: number;
  acceptance?: Acceptance | undefined;
  error?: TidingsError | undefined;
  /** The cached `OutboxEntry` and the cached row in the room's messages. Each change of the entry clears both. */
  view?: OutboxEntry | undefined;
  row?: Message | undefined;
}

/** Returns the object that the app gets for an entry. It stays the same object until the entry changes. */
export function toOutboxEntry(entry: Entry): OutboxEntry {
  const { clientId, room, content, options, at, acceptance, error } = entry;
  const status = error ? "failed" : acceptance ? "sent" : "sending";
  const { seq, id } = acceptance ?? {};
  entry.view ??= omitNullish({
    clientId,
    room,
    content,
    options,
    at,
    status,
    seq,
    id,
    error,
  } as const);
  return entry.view;
}

/** Makes the frame that sends an entry. `attempt` 1 promises that the message was never sent before. */
export function sendFrame({ room, clientId, content, options, tries }: Entry): ClientFrame {
  const { kind, replyTo, visibleTo, attachments, metadata } = options;
  return omitNullish({
    type: "message:send",
    room,
    client_id: clientId,
    content,
    kind,
    reply_to: replyTo,
    visible_to: visibleTo,
    attachments,
    metadata,
    attempt: tries,
  } as const);
}
