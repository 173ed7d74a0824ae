import type { TidingsError } from "../errors.js";
import type { ClientFrame } from "../protocol/frames.js";
import { tidy } from "../tidy.js";
import type { Message, OutboxEntry, SendOptions } from "../types.js";

/** Where an accepted message stands. `at` is milliseconds since 1970. */
export interface Place {
  readonly seq: number;
  readonly id: string;
  readonly at: number;
}

/** A message on its way, as the outbox works with it. */
export interface Entry {
  readonly clientId: string;
  readonly room: string;
  readonly content: string;
  readonly options: SendOptions;
  /** Milliseconds since 1970 when it was written. */
  readonly at: number;
  /** Whose it is; undefined until that is known. */
  user?: string | undefined;
  /** How often it may have been put on a wire. */
  tries: number;
  place?: Place | undefined;
  error?: TidingsError | undefined;
  /** What the app is shown, and the row in the room; made anew with each change. */
  shown?: OutboxEntry | undefined;
  row?: Message | undefined;
}

/** What the app is shown of an entry, the same object until that changes. */
export function shown(entry: Entry): OutboxEntry {
  const { clientId, room, content, options, at, place, error } = entry;
  const status = error ? "failed" : place ? "sent" : "sending";
  const { seq, id } = place ?? {};
  entry.shown ??= tidy({ clientId, room, content, options, at, status, seq, id, error } as const);
  return entry.shown;
}

/** The frame of an entry. `attempt` 1 is a promise, which only holds for what was never on a wire. */
export function sendFrame({ room, clientId, content, options, tries }: Entry): ClientFrame {
  const { kind, replyTo, visibleTo, attachments, metadata } = options;
  return tidy({
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
