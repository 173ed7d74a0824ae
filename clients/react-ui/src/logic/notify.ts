import type { ClientEvents, RoomSummary } from "@tidings/client";
import { fileName } from "./attachments.js";
import { senderName } from "./names.js";
import { isolate, shorten } from "./plainText.js";
import { previewText } from "./preview.js";
import { roomTitle } from "./title.js";

type NotifyLevel = RoomSummary["notify"];

/** The notification levels of a room, the loudest first. */
export const NOTIFY_LEVELS: readonly NotifyLevel[] = ["all", "mentions", "none"];

/** The labels of the notification levels. */
export const NOTIFY_LABELS: Readonly<Record<NotifyLevel, string>> = {
  all: "Notify about all messages",
  mentions: "Notify about mentions only",
  none: "No notifications",
};

/** A message as it arrives. */
export type NewMessage = Extract<ClientEvents["event"], { type: "message:new" }>;

/** Which texts notifications show: all, those that everyone in the room may see, or none. */
export type NotificationPreview = "all" | "public" | "none";

/** The most characters of a message in a notification. */
const MAX_BODY_CHARS = 200;

/** Whether the user wants a notification of a message. Nobody gets one of an own message, or of one that is read. */
export function wantsNotification(
  message: NewMessage,
  summary: RoomSummary | undefined,
  me: string | undefined,
): summary is RoomSummary {
  if (summary === undefined || me === undefined || message.sender.id === me) return false;
  if (message.seq <= summary.readSeq) return false;
  return (
    summary.notify === "all" || (summary.notify === "mentions" && message.mentions?.includes(me) === true)
  );
}

/** The title and the text of a notification. The text of a private message needs the preview `all`. */
export function notificationText(
  message: NewMessage,
  summary: RoomSummary,
  me: string | undefined,
  preview: NotificationPreview,
): { title: string; body: string } {
  const sender = isolate(senderName(message));
  const isDirect = summary.kind === "direct";
  const isMention = me !== undefined && message.mentions?.includes(me) === true;
  const who = isMention ? `${sender} mentioned you` : sender;
  const title = isDirect ? who : `${who} in ${isolate(roomTitle(summary))}`;
  if (preview === "none") return { title, body: "New message" };
  if (message.visible_to && preview !== "all") return { title, body: "Private message" };
  const attachments = message.attachments ?? [];
  const text =
    message.content === "" && attachments[0] !== undefined
      ? fileName(attachments[0])
      : previewText({ content: message.content, deleted: false, attachments: [] });
  return { title, body: shorten(text, MAX_BODY_CHARS) };
}
