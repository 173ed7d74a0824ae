import type { Message, SystemEvent } from "@tidings/client";
import { originalTime } from "./originalTime.js";
import { dayStart } from "./time.js";

/** Consecutive messages of one user form a run when the time between them is shorter than this, in ms. */
const RUN_GAP_MS = 5 * 60_000;

/** A row of the message list. Only the keys of messages contain a space, so a message key never equals another key. */
export type Row =
  | { readonly type: "start"; readonly key: "start" }
  | { readonly type: "older"; readonly key: "older" }
  | { readonly type: "newer"; readonly key: "newer" }
  | { readonly type: "day"; readonly key: string; readonly at: number }
  | { readonly type: "unread"; readonly key: "unread" }
  | { readonly type: "system"; readonly key: string; readonly events: readonly SystemEvent[] }
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
  /** Whether the room has messages after the last loaded one. */
  readonly hasNewer?: boolean;
  /**
   * The last seq that was read when the room was opened. The unread divider is above the next message of another user.
   */
  readonly readUpTo: number | undefined;
  /** Changes of members and settings, ascending by seq. Only those among the loaded messages get rows. */
  readonly events?: readonly SystemEvent[];
}

/** Whether a row key belongs to a message: the keys of other rows contain no space. */
export const isMessageKey = (key: string): boolean => key.includes(" ");

/** Builds the rows of a room: separators of days, the divider of unread messages, messages in runs, and events. */
export function buildRows(
  messages: readonly Message[],
  { hasOlder, hasNewer = false, readUpTo, events = [] }: RowOptions,
): Row[] {
  const rows: Row[] = [hasOlder ? { type: "older", key: "older" } : { type: "start", key: "start" }];
  // Without the older messages the first unread message may be unknown.
  const firstUnreadKnown = !hasOlder || (messages[0]?.seq ?? 0) <= (readUpTo ?? 0) + 1;
  const unreadIndex = firstUnreadKnown ? firstUnread(messages, readUpTo) : undefined;
  // Unsent messages come after the gap.
  const gapIndex = hasNewer ? messages.findLastIndex((message) => message.seq !== undefined) : undefined;
  const groups = groupEvents(messages, events, { hasOlder, hasNewer });
  let day = Number.NaN;
  const startDay = (at: number): boolean => {
    const today = dayStart(at);
    if (today === day) return false;
    rows.push({ type: "day", key: `day-${today}`, at: today });
    day = today;
    return true;
  };
  const pushEvents = (index: number) => {
    let row: { type: "system"; key: string; events: SystemEvent[] } | undefined;
    for (const event of groups.get(index) ?? []) {
      if (startDay(Date.parse(event.at) || 0)) row = undefined;
      if (row === undefined) {
        row = { type: "system", key: `system-${event.seq}`, events: [] };
        rows.push(row);
      }
      row.events.push(event);
    }
  };
  let previous: Message | undefined;
  for (const [index, message] of messages.entries()) {
    pushEvents(index);
    const at = originalTime(message);
    const newDay = startDay(at);
    const hasDivider = index === unreadIndex;
    if (hasDivider) rows.push({ type: "unread", key: "unread" });
    const first =
      newDay || hasDivider || groups.has(index) || previous === undefined || !isSameRun(previous, message);
    const next = messages[index + 1];
    const last =
      next === undefined ||
      index + 1 === unreadIndex ||
      groups.has(index + 1) ||
      dayStart(originalTime(next)) !== day ||
      !isSameRun(message, next);
    rows.push({ type: "message", key: message.key, message, first, last });
    if (index === gapIndex) rows.push({ type: "newer", key: "newer" });
    previous = message;
  }
  pushEvents(messages.length);
  return withUniqueDays(rows);
}

/**
 * Groups events by the index of the message that follows them; the events after the last stored message come before the
 * messages that are being sent. Omits events outside of the loaded part of the log.
 */
function groupEvents(
  messages: readonly Message[],
  events: readonly SystemEvent[],
  { hasOlder, hasNewer }: Pick<Required<RowOptions>, "hasOlder" | "hasNewer">,
): ReadonlyMap<number, readonly SystemEvent[]> {
  const groups = new Map<number, SystemEvent[]>();
  const firstSeq = hasOlder ? (messages[0]?.seq ?? Infinity) : 0;
  const pendingIndex = messages.findLastIndex((message) => message.seq !== undefined) + 1;
  let index = 0;
  for (const event of events) {
    if (event.seq < firstSeq) continue;
    while (index < pendingIndex && (messages[index]?.seq ?? 0) < event.seq) index += 1;
    if (index === pendingIndex && hasNewer) break;
    const group = groups.get(index);
    if (group) group.push(event);
    else groups.set(index, [event]);
  }
  return groups;
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
    Math.abs(originalTime(b) - originalTime(a)) < RUN_GAP_MS &&
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
