import type { Message } from "@tidings/client";
import { dayOf } from "./time.ts";

/** Messages of one person this near to each other stand together, in ms. */
const TOGETHER = 5 * 60_000;

/**
 * A line of the message list. The keys of messages hold a space, which the other keys do not, and so none of these is
 * one of theirs.
 */
export type Row =
  | { readonly type: "start"; readonly key: "start" }
  | { readonly type: "older"; readonly key: "older" }
  | { readonly type: "day"; readonly key: string; readonly at: number }
  | { readonly type: "unread"; readonly key: "unread" }
  | {
      readonly type: "message";
      readonly key: string;
      readonly message: Message;
      /** Whether it begins, or ends, a run of bubbles of one person. */
      readonly first: boolean;
      readonly last: boolean;
    };

/** What the rows are made of, beside the messages. */
export interface RowOptions {
  readonly hasOlder: boolean;
  /** The seq of the last message read when the room was opened; a divider stands above the next one of others. */
  readonly readUpTo: number | undefined;
}

/** Whether a key is that of a message. */
export const isMessageKey = (key: string): boolean => key.includes(" ");

/** The lines of a room's list: separators of days, the divider of what is new, and messages in runs. */
export function buildRows(messages: readonly Message[], { hasOlder, readUpTo }: RowOptions): Row[] {
  const rows: Row[] = [hasOlder ? { type: "older", key: "older" } : { type: "start", key: "start" }];
  const unread = firstUnread(messages, readUpTo);
  let day = Number.NaN;
  let before: Message | undefined;
  for (const [index, message] of messages.entries()) {
    const today = dayOf(message.at);
    const newDay = today !== day;
    if (newDay) rows.push({ type: "day", key: `day-${today}`, at: today });
    day = today;
    const divided = index === unread;
    if (divided) rows.push({ type: "unread", key: "unread" });
    const first = newDay || divided || before === undefined || !together(before, message);
    const next = messages[index + 1];
    const last =
      next === undefined || index + 1 === unread || dayOf(next.at) !== today || !together(message, next);
    rows.push({ type: "message", key: message.key, message, first, last });
    before = message;
  }
  return withUniqueDays(rows);
}

/** Where the divider stands: the index of the first message of others above what was read; undefined for none. */
export function firstUnread(messages: readonly Message[], readUpTo: number | undefined): number | undefined {
  if (readUpTo === undefined) return undefined;
  const index = messages.findIndex((one) => isNews(one) && one.seq !== undefined && one.seq > readUpTo);
  return index === -1 ? undefined : index;
}

/** Whether a message is worth a count: one of others that still says something. */
export function isNews(message: Message | undefined): boolean {
  return message !== undefined && !message.mine && !message.deleted;
}

function together(a: Message, b: Message): boolean {
  return (
    a.sender.id === b.sender.id &&
    Math.abs(b.at - a.at) < TOGETHER &&
    (a.visibleTo === undefined) === (b.visibleTo === undefined)
  );
}

/** Clocks of senders may differ, and so a day may come twice: keys must not. */
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
