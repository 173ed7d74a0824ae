import type { MutedRooms, RoomSummary } from "@tidings/client";
import { laterTime } from "./time.js";

const HOUR_MS = 3_600_000;

/** The choices of the menu. `ms` is the duration; undefined mutes until the user unmutes the room. */
export const MUTE_CHOICES: readonly { readonly label: string; readonly ms: number | undefined }[] = [
  { label: "Mute notifications for 1 hour", ms: HOUR_MS },
  { label: "Mute notifications for 8 hours", ms: 8 * HOUR_MS },
  { label: "Mute notifications until I unmute", ms: undefined },
];

/** The label that unmutes a room, with the end of its mute. The times are in ms since 1970. */
export const unmuteLabel = (until: number | null, now: number): string =>
  until === null ? "Unmute notifications" : `Unmute (muted until ${laterTime(until, now)})`;

/** Whether the user gets no notifications of a room: because of its level, or because the user has muted it. */
export function isQuiet(room: RoomSummary, muted: MutedRooms | undefined): boolean {
  return room.notify === "none" || muted?.has(room.id) === true;
}
