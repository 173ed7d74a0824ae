import type { Member, Message, Receipt } from "@tidings/client";

/** The delivery state of the user's own message. */
export type Tick = "none" | "sending" | "sent" | "delivered" | "read" | "failed";

/**
 * Returns the tick of a message; messages of others get `none`. One other user who got or read the message is enough
 * for `delivered` or `read`; {@link groupTickOf} is for groups.
 */
export function tickOf(
  message: Message,
  receipts: ReadonlyMap<string, Receipt>,
  audience?: AudienceFilter,
): Tick {
  if (!message.mine || message.deleted) return "none";
  if (message.status !== "sent") return message.status;
  if (message.seq === undefined) return "sending";
  const { read, delivered } = recipientsOf(message, receipts, audience);
  return read.length > 0 ? "read" : delivered.length > 0 ? "delivered" : "sent";
}

/** The server pushes the receipts of rooms with up to this many members. In larger rooms they are out of date. */
export const MAX_MEMBERS_WITH_RECEIPTS = 100;

/** Who has read a message of a group, and who has not: ids of the present members who may see it, without its sender. */
export interface Seen {
  readonly read: readonly string[];
  readonly unread: readonly string[];
}

/**
 * Returns who has read a message of a group. Undefined if this is unknown: the members are not loaded, the room is too
 * large for receipts, or the message has no seq yet.
 */
export function seenBy(
  message: Message,
  receipts: ReadonlyMap<string, Receipt>,
  members: readonly Member[] | undefined,
): Seen | undefined {
  const { seq } = message;
  if (seq === undefined || !members || members.length > MAX_MEMBERS_WITH_RECEIPTS) return undefined;
  const audience = audienceOf(message, members);
  const read: string[] = [];
  const unread: string[] = [];
  for (const { user } of members) {
    if (user === message.sender.id || (audience && !audience(user))) continue;
    ((receipts.get(user)?.readSeq ?? 0) >= seq ? read : unread).push(user);
  }
  return { read, unread };
}

/** Returns the tick of a message in a group: it is `read` once all members have read the message. */
export function groupTickOf(
  message: Message,
  receipts: ReadonlyMap<string, Receipt>,
  members: readonly Member[] | undefined,
): Tick {
  const tick = tickOf(message, receipts, audienceOf(message, members));
  if (tick !== "read") return tick;
  const seen = seenBy(message, receipts, members);
  return seen && seen.read.length > 0 && seen.unread.length === 0 ? "read" : "delivered";
}

/** Makes the line below a message that some members have read, but not all; undefined for other messages. */
export function seenText(seen: Seen | undefined): string | undefined {
  if (!seen || seen.read.length === 0 || seen.unread.length === 0) return undefined;
  return `Seen by ${seen.read.length} of ${seen.read.length + seen.unread.length}`;
}

/** Whether a user may see a message. */
type AudienceFilter = (user: string) => boolean;

/** Returns a function that tests whether a user may see a private message; undefined for other messages. */
export function audienceOf(
  message: Message,
  members: readonly Member[] | undefined,
): AudienceFilter | undefined {
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

/** Returns the ids of the users who have read a message, and of the users to whom it was only delivered. */
export function recipientsOf(
  message: Message,
  receipts: ReadonlyMap<string, Receipt>,
  audience?: AudienceFilter,
) {
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
