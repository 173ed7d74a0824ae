import type { Message, OutboxEntry } from "@tidings/client";
import { fileName } from "./attachments.js";
import { senderName } from "./names.js";
import { graphemes, isolate } from "./plainText.js";

/** The text of a message on one line, without its sender. */
export function previewText(message: Pick<Message, "content" | "deleted" | "attachments">): string {
  if (message.deleted) return "Message deleted";
  const text = stripFormatting(message.content).replace(/\s+/g, " ").trim();
  if (text !== "") return text;
  const [first, ...others] = message.attachments;
  if (first === undefined) return "Message";
  const name = fileName(first);
  return others.length > 0 ? `${isolate(name)} and ${others.length} more` : name;
}

/** Formatting characters that a preview must not show, each with its replacement. */
const PREVIEW_REPLACEMENTS: readonly (readonly [pattern: RegExp, text: string])[] = [
  [/^ {0,3}(?:```|~~~)\w*$/gm, ""],
  [/^ {0,3}> ?/gm, ""],
  [/(\*\*|__|~~|`)(?=\S)(.*?\S)\1/g, "$2"],
  [/\[([^\]]+)\]\(https?:[^)\s]*\)/g, "$1"],
];

function stripFormatting(text: string): string {
  return PREVIEW_REPLACEMENTS.reduce((rest, [pattern, plain]) => rest.replace(pattern, plain), text);
}

/** Makes the text of a last message in the list of rooms: "You: …", and in rooms that are not direct "Ada: …". */
export function lastMessageText(message: Message, kind: string): string {
  const line = previewText(message);
  if (message.mine) return `You: ${line}`;
  return kind === "direct" ? line : `${isolate(senderName(message))}: ${line}`;
}

/** The newest outbox entry of each room. */
export function newestByRoom(entries: readonly OutboxEntry[]): ReadonlyMap<string, OutboxEntry> {
  return new Map(entries.map((entry) => [entry.room, entry]));
}

/** Whether an outbox entry is newer than the last known message of the room. */
export function isNewer(entry: OutboxEntry | undefined, last: Message | undefined): entry is OutboxEntry {
  if (entry === undefined || last === undefined) return entry !== undefined;
  // Compares a failed message by its time. A message that is being sent counts as the newest one, because the clock of
  // the device may be wrong.
  if (entry.status === "failed") return entry.at > last.at;
  return entry.seq === undefined || entry.seq > (last.seq ?? 0);
}

/** A part of a text. A part with `href` is a link. */
interface TextPart {
  readonly text: string;
  readonly href?: string;
}

const LINK_PATTERN = /\b(?:https?:\/\/[^\s<>"]+|www\.[^\s<>".]+\.[^\s<>"]+)/gi;

/** Splits a text at its links. Punctuation at the end of a link becomes text. */
export function linkify(text: string): TextPart[] {
  const parts: TextPart[] = [];
  let from = 0;
  for (const match of text.matchAll(LINK_PATTERN)) {
    const link = trimLink(match[0]);
    const href = /^www/i.test(link) ? `http://${link}` : link;
    if (!URL.canParse(href)) continue;
    if (match.index > from) parts.push({ text: text.slice(from, match.index) });
    parts.push({ text: link, href });
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
  const characters = [...graphemes(bare)];
  return (
    characters.length <= 3 &&
    characters.every(({ segment }) => /\p{Extended_Pictographic}|\p{RI}/u.test(segment))
  );
}
