import type { Message, OutboxEntry } from "@tidings/client";
import { senderName } from "./names.ts";

/** The text of a message on one line, without its sender. */
export function previewText(message: Pick<Message, "content" | "deleted" | "attachments">): string {
  if (message.deleted) return "Message deleted";
  const text = message.content.replace(/\s+/g, " ").trim();
  if (text !== "") return text;
  return message.attachments[0]?.name ?? "Message";
}

/** Makes the text of a last message in the list of rooms: "You: …", and in rooms that are not direct "Ada: …". */
export function lastMessageText(message: Message, kind: string): string {
  const line = previewText(message);
  if (message.mine) return `You: ${line}`;
  return kind === "direct" ? line : `${senderName(message)}: ${line}`;
}

/** The newest outbox entry of each room. */
export function newestByRoom(entries: readonly OutboxEntry[]): ReadonlyMap<string, OutboxEntry> {
  return new Map(entries.map((entry) => [entry.room, entry]));
}

/** Whether an outbox entry is newer than the last known message of the room. */
export function isNewer(entry: OutboxEntry | undefined, last: Message | undefined): entry is OutboxEntry {
  if (entry === undefined || last === undefined) return entry !== undefined;
  // A failed message keeps its time. A message that is being sent will be the newest one, even if the clock of the
  // device is wrong.
  if (entry.status === "failed") return entry.at > last.at;
  return entry.seq === undefined || entry.seq > (last.seq ?? 0);
}

/** A part of a text. A part with `href` is a link. */
interface TextPart {
  readonly text: string;
  readonly href?: string;
}

const LINK = /\bhttps?:\/\/[^\s<>"]+/g;

/** Splits a text at its links. Punctuation at the end of a link becomes text. */
export function linkify(text: string): TextPart[] {
  const parts: TextPart[] = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    const link = trimLink(match[0]);
    if (!URL.canParse(link)) continue;
    if (match.index > from) parts.push({ text: text.slice(from, match.index) });
    parts.push({ text: link, href: link });
    from = match.index + link.length;
  }
  if (from < text.length || parts.length === 0) parts.push({ text: text.slice(from) });
  return parts;
}

function trimLink(link: string): string {
  let end = link.replace(/[.,;:!?'"*_]+$/, "");
  while (end.endsWith(")") && end.split("(").length < end.split(")").length) end = end.slice(0, -1);
  return end;
}

/** Whether a text consists of one to three emojis, which are then shown large. */
export function isEmojiOnly(text: string): boolean {
  const bare = text.replace(/\s/g, "");
  if (bare === "" || bare.length > 24 || /[\p{L}\p{N}]/u.test(bare)) return false;
  const graphemes = [...new Intl.Segmenter().segment(bare)];
  return (
    graphemes.length <= 3 &&
    graphemes.every(({ segment }) => /\p{Extended_Pictographic}|\p{RI}/u.test(segment))
  );
}
