import type { LogEvent, MemberEvent, RoomUpdated, SystemEvent } from "@tidings/client";
import { listNames, plural } from "./names.js";
import { isolate, shorten } from "./plainText.js";

/** Whether the message list shows an event as a line of text. */
export const isSystemEvent = (event: LogEvent): event is SystemEvent =>
  event.type.startsWith("member:") || event.type === "room:updated";

/** The most characters of a description that a line shows. */
const MAX_DESCRIPTION_CHARS = 120;

const ROLE_NAMES: Readonly<Record<string, { one: string; several: string }>> = {
  owner: { one: "an owner", several: "owners" },
  admin: { one: "an admin", several: "admins" },
  member: { one: "a member", several: "members" },
  guest: { one: "a guest", several: "guests" },
};

/** The ends of lines about members who joined or left by themselves, by their first and their last event of a run. */
const MOVES = {
  "member:added member:added": "joined",
  "member:removed member:removed": "left",
  "member:added member:removed": "joined and left",
  "member:removed member:added": "left and came back",
};

/**
 * Makes the lines of consecutive events. Events of the same kind share a line, such as "Ada, Bo and 3 others joined",
 * and so do all joins and all leaves of a run of both. `me` is the id of the user, who is called "you".
 */
export function systemLines(
  events: readonly SystemEvent[],
  nameOf: (user: string) => string,
  me: string | undefined,
): string[] {
  const lines: string[] = [];
  const subject = (user: string) => (user === me ? "You" : isolate(nameOf(user)));
  const object = (user: string) => (user === me ? "you" : nameOf(user));
  for (let at = 0; at < events.length; ) {
    const event = events[at] as SystemEvent;
    if (event.type === "room:updated") {
      lines.push(...changesOf(event).map((change) => `${subject(event.by)} ${change}`));
      at += 1;
      continue;
    }
    if (isMove(event)) {
      const run: MemberEvent[] = [];
      for (; isMove(events[at]); at += 1) run.push(events[at] as MemberEvent);
      for (const [verb, users] of groupMoves(run)) lines.push(`${listNames(users.map(subject))} ${verb}`);
      continue;
    }
    const kind = kindOf(event);
    const users: string[] = [];
    for (; at < events.length; at += 1) {
      const next = events[at] as SystemEvent;
      if (next.type === "room:updated" || isMove(next) || kindOf(next) !== kind) break;
      if (!users.includes(next.user)) users.push(next.user);
    }
    const isOwn = event.by === event.user;
    const names = listNames(users.map(isOwn ? subject : object));
    if (event.type === "member:added") lines.push(`${subject(event.by)} added ${names}`);
    else if (event.type === "member:removed") lines.push(`${subject(event.by)} removed ${names}`);
    else {
      const role = ROLE_NAMES[event.role]?.[users.length > 1 ? "several" : "one"];
      lines.push(
        role === undefined
          ? `${subject(event.by)} changed the role of ${names} to “${event.role}”`
          : `${subject(event.by)} made ${isOwn && event.user === me ? "yourself" : names} ${role}`,
      );
    }
  }
  return lines;
}

/** Whether the member of an event joined or left by themselves. */
const isMove = (event: SystemEvent | undefined): boolean =>
  (event?.type === "member:added" || event?.type === "member:removed") && event.by === event.user;

/** Groups the members of a run of moves by what they did. Each member is in one group. */
function groupMoves(run: readonly MemberEvent[]): [verb: string, users: string[]][] {
  const types = new Map<string, readonly [first: string, last: string]>();
  for (const { user, type } of run) types.set(user, [types.get(user)?.[0] ?? type, type]);
  const groups = Object.entries(MOVES).map(([key, verb]): [string, string[]] => [
    verb,
    [...types].filter(([, ends]) => ends.join(" ") === key).map(([user]) => user),
  ]);
  return groups.filter(([, users]) => users.length > 0);
}

/** Other events of members with the same kind share a line: the same change by the same user. */
function kindOf(event: MemberEvent): string {
  const role = event.type === "member:changed" ? event.role : "";
  return JSON.stringify([event.type, role, event.by, event.by === event.user]);
}

/** What changed in a room, each as the rest of a sentence about the user who changed it. */
function changesOf(event: RoomUpdated): string[] {
  const { name, metadata, archived, slow_mode_s: slowMode } = event;
  const changes: string[] = [];
  if (name != null)
    changes.push(name === "" ? "removed the name of the room" : `renamed the room to “${isolate(name)}”`);
  if (metadata != null) changes.push(descriptionChange(metadata));
  if (slowMode != null) {
    changes.push(
      slowMode > 0
        ? `turned on slow mode: one message in ${plural(slowMode, "second")}`
        : "turned off slow mode",
    );
  }
  if (archived != null) changes.push(archived ? "archived the room" : "unarchived the room");
  return changes;
}

function descriptionChange(metadata: object): string {
  const { description } = metadata as { description?: unknown };
  if (typeof description !== "string") return "changed the settings of the room";
  const text = description.trim();
  if (text === "") return "removed the description of the room";
  return `changed the description to “${isolate(shorten(text, MAX_DESCRIPTION_CHARS))}”`;
}
