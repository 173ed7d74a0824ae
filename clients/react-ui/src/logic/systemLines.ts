import type { LogEvent, MemberEvent, RoomUpdated } from "@tidings/client";
import { listNames, plural } from "./names.js";
import { isolate, shorten } from "./plainText.js";

/** An event that the message list shows as a line of text: a change of the members or of the room. */
export type SystemEvent = MemberEvent | RoomUpdated;

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

/**
 * Makes the lines of consecutive events. Events of the same kind share a line, such as "Ada, Bo and 3 others joined".
 * `me` is the id of the user, who is called "you".
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
    const kind = kindOf(event);
    const users: string[] = [];
    for (; at < events.length; at += 1) {
      const next = events[at] as SystemEvent;
      if (next.type === "room:updated" || kindOf(next) !== kind) break;
      if (!users.includes(next.user)) users.push(next.user);
    }
    const isOwn = event.by === event.user;
    const names = listNames(users.map(isOwn ? subject : object));
    if (event.type === "member:added")
      lines.push(isOwn ? `${names} joined` : `${subject(event.by)} added ${names}`);
    else if (event.type === "member:removed")
      lines.push(isOwn ? `${names} left` : `${subject(event.by)} removed ${names}`);
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

/** Events of members with the same kind share a line: the same change by the same user, or by each member. */
function kindOf(event: MemberEvent): string {
  const role = event.type === "member:changed" ? event.role : "";
  const isOwn = event.by === event.user;
  return JSON.stringify([event.type, role, isOwn && event.type !== "member:changed" ? "" : event.by, isOwn]);
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
