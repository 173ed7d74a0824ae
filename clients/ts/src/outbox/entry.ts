import type { TidingsError } from "../errors.js";
import { omitNullish } from "../omit-nullish.js";
import type { ClientFrame } from "../protocol/frames.js";
import type { VisibleTo } from "../protocol/objects.js";
import type { Message, OutboxEntry, SendOptions } from "../types.js";

/** The seq, the id and the time that the server gave to an accepted message. `at` is in milliseconds since 1970. */
export interface Acceptance {
  readonly seq: number;
  readonly id: string;
  readonly at: number;
}

/** A change of the message at `seq`: the fields of its frame, without `room` and `client_id`. */
export type EntryChange = { readonly seq: number; readonly id?: string | undefined } & (
  | {
      readonly type: "message:edit";
      readonly content: string;
      readonly metadata?: object | undefined;
      readonly mentions?: readonly string[] | undefined;
    }
  | { readonly type: "message:delete" }
  | { readonly type: "reaction:add" | "reaction:remove"; readonly emoji: string }
);

/** A message or a change in the outbox, in the kit's internal form. A change has no content and no options. */
export interface Entry {
  readonly clientId: string;
  readonly room: string;
  readonly content: string;
  /** Replaced when the uploads of the message are complete. */
  options: SendOptions;
  readonly change?: EntryChange | undefined;
  /** When the user wrote the message or the change, in milliseconds since 1970. */
  readonly at: number;
  /** The id of the author; undefined until it is known. */
  user?: string | undefined;
  /** How often the message may have been sent. */
  tries: number;
  /** The earliest time at which the server takes the entry after it has refused it for now. Not stored. */
  retryAt?: number | undefined;
  acceptance?: Acceptance | undefined;
  error?: TidingsError | undefined;
  /**
   * The cached `OutboxEntry` and the cached row in the room's messages. Each change of the entry clears these caches.
   */
  view?: OutboxEntry | undefined;
  row?: Message | undefined;
}

/** Returns the object that the app gets for an entry. It stays the same object until the entry changes. */
export function toOutboxEntry(entry: Entry): OutboxEntry {
  const { clientId, room, content, options, at, acceptance, error } = entry;
  const retryAt = acceptance || error ? undefined : entry.retryAt;
  entry.view ??= omitNullish({
    ...acceptance,
    clientId,
    room,
    content,
    options,
    at,
    status: error ? "failed" : acceptance ? "sent" : "sending",
    error,
    retryAt,
  } as const);
  return entry.view;
}

/** Whether the message waits for files that are not uploaded yet. The entry `files` uploads them. */
export const hasUploads = ({ options }: Entry) => options.attachments?.some(({ upload }) => upload);

/** Makes the frame that sends an entry. `attempt` 1 promises that the message was never sent before. */
export function toSendFrame({ room, clientId, content, options, change, tries }: Entry): ClientFrame {
  if (change) return { ...change, room, client_id: clientId } as ClientFrame;
  const { kind, replyTo, visibleTo, mentions, attachments, metadata } = options;
  return omitNullish({
    type: "message:send",
    room,
    client_id: clientId,
    content,
    kind,
    reply_to: replyTo,
    // `Room.send` has already replaced `everyone` by undefined.
    visible_to: visibleTo as VisibleTo | undefined,
    mentions,
    // An entry that an older version has stored may contain `media_type`.
    attachments: attachments?.map(({ mediaType, ...rest }) => ({ media_type: mediaType, ...rest })),
    metadata,
    attempt: tries,
  } as const);
}
