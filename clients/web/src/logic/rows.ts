import type { Message } from "@tidings/client";
import { dayStart } from "./time.ts";

/** Consecutive messages of one user form a run when the time between them is shorter than this, in ms. */
const RUN_GAP_MS = 5 * 60_000;

/** A row of the message list. Only the keys of messages contain a space, so a message key never equals another key. */
export type Row =
  | { readonly type: "start"; readonly key: "start" }
  | { readonly type: "older"; readonly key: "older" }
  | { readonly type: "day"; readonly key: string; readonly at: number }
  | { readonly type: "unread"; readonly key: "unread" }
  | {
      readonly type: "message";
      readonly key: string;
      readonly message: Message;
      /** Whether the message is the first, or the last, of a run of messages of one user. */
      readonly first: boolean;
      readonly last: boolean;
    };

/** The other inputs for the rows, besides the messages. */
interface RowOptions {
  readonly hasOlder: boolean;
  /**
   * The last seq that was read when the room was opened. The unread divider is above the next message of another user.
   */
  readonly readUpTo: number | undefined;
}

/** Whether a row key belongs to a message: the keys of other rows contain no space. */
export const isMessageKey = (key: string): boolean => key.includes(" ");

/** Builds the rows of a room: separators of days, the divider of unread messages, and messages in runs. */
export function buildRows(messages: readonly Message[], { hasOlder, readUpTo }: RowOptions): Row[] {
  const rows: Row[] = [hasOlder ? { type: "older", key: "older" } : { type: "start", key: "start" }];
  const unread = firstUnread(messages, readUpTo);
  let day = Number.NaN;
  let before: Message | undefined;
  for (const [index, message] of messages.entries()) {
    const today = dayStart(message.at);
    const newDay = today !== day;
    if (newDay) rows.push({ type: "day", key: `day-${today}`, at: today });
    day = today;
    const hasDivider = index === unread;
    if (hasDivider) rows.push({ type: "unread", key: "unread" });
    const first = newDay || hasDivider || before === undefined || !isSameRun(before, message);
    const next = messages[index + 1];
    const last =
      next === undefined || index + 1 === unread || dayStart(next.at) !== today || !isSameRun(message, next);
    rows.push({ type: "message", key: message.key, message, first, last });
    before = message;
  }
  return withUniqueDays(rows);
}

/** The index of the first unread message of another user. The divider is above it. Undefined: all are read. */
function firstUnread(messages: readonly Message[], readUpTo: number | undefined): number | undefined {
  if (readUpTo === undefined) return undefined;
  const index = messages.findIndex(
    (one) => countsAsUnread(one) && one.seq !== undefined && one.seq > readUpTo,
  );
  return index === -1 ? undefined : index;
}

/** Whether a message counts as unread: it is from another user and not deleted. */
export function countsAsUnread(message: Message | undefined): boolean {
  return message !== undefined && !message.mine && !message.deleted;
}

function isSameRun(a: Message, b: Message): boolean {
  return (
    a.sender.id === b.sender.id &&
    Math.abs(b.at - a.at) < RUN_GAP_MS &&
    (a.visibleTo === undefined) === (b.visibleTo === undefined)
  );
}

/**
 * Makes the keys of days unique. A day can occur twice, because a pending message has the time of this device, and a
 * stored message the time of the server.
 */
function withUniqueDays(rows: Row[]): Row[] {
  const seen = new Set<string>();
  return rows.map((row) => {
    if (row.type !== "day") return row;
    let key = row.key;
    while (seen.has(key)) key += "+";
    seen.add(key);
    return key === row.key ? row : { ...row, key };
  });
}
