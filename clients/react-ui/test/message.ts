import type { Message } from "@tidings/client";

/** A message from Ada, sent at noon, with the changes that a test needs. */
export function message(seq: number | undefined, more: Partial<Message> = {}): Message {
  const sender = more.sender ?? { id: "ada", name: "Ada" };
  const clientId = more.clientId ?? `c${seq ?? "new"}`;
  return {
    key: `${sender.id === "me" ? "" : sender.id} ${clientId}`,
    seq,
    clientId,
    room: "r",
    sender,
    mine: sender.id === "me",
    kind: "text",
    content: `message ${seq}`,
    at: new Date(2026, 0, 15, 12, 0, 0).getTime() + (seq ?? 0) * 1000,
    deleted: false,
    attachments: [],
    reactions: [],
    lastSeq: seq ?? 0,
    status: seq === undefined ? "sending" : "sent",
    stored: seq !== undefined,
    ...more,
  };
}

/** The user of the tests. */
export const me = { id: "me", name: "Me" };
/** Another user. */
export const bo = { id: "bo", name: "Bo" };
