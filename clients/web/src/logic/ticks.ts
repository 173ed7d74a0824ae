import type { Member, Message, Receipt } from "@tidings/client";

/** The delivery state of the user's own message. */
export type Tick = "none" | "sending" | "sent" | "delivered" | "read" | "failed";

/**
 * Returns the tick of a message; messages of others get `none`. For `delivered` or `read` it suffices that one other
 * user got or read the message.
 */
export function tickOf(message: Message, receipts: ReadonlyMap<string, Receipt>, audience?: Audience): Tick {
  if (!message.mine || message.deleted) return "none";
  if (message.status !== "sent") return message.status;
  if (message.seq === undefined) return "sending";
  const { read, delivered } = recipientsOf(message, receipts, audience);
  return read.length > 0 ? "read" : delivered.length > 0 ? "delivered" : "sent";
}

/** Whether a user may see a message. */
type Audience = (user: string) => boolean;

/** Returns a function that tests whether a user may see a private message; undefined for other messages. */
export function audienceOf(message: Message, members: readonly Member[] | undefined): Audience | undefined {
  const { visibleTo } = message;
  if (visibleTo === undefined) return undefined;
  const users = new Set(visibleTo.users);
  for (const member of members ?? []) if (visibleTo.roles.includes(member.role)) users.add(member.user);
  return (user) => users.has(user);
}

/** The labels of the ticks. */
export const TICK_LABELS: Readonly<Record<Tick, string>> = {
  none: "",
  sending: "Sending",
  sent: "Sent",
  delivered: "Delivered",
  read: "Read",
  failed: "Not sent",
};

/** Returns the ids of users who have read a message, and of those to whom it was only delivered. */
export function recipientsOf(message: Message, receipts: ReadonlyMap<string, Receipt>, audience?: Audience) {
  const read: string[] = [];
  const delivered: string[] = [];
  const { seq } = message;
  if (seq === undefined) return { read, delivered };
  for (const [user, receipt] of receipts) {
    if (user === message.sender.id || (audience && !audience(user))) continue;
    if (receipt.readSeq >= seq) read.push(user);
    else if (receipt.deliveredSeq >= seq) delivered.push(user);
  }
  return { read, delivered };
}
