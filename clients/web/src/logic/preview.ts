import type { Message, OutboxEntry } from "@tidings/client";
import { displayName } from "./names.ts";

/** What a message says on one line, without who said it. */
export function oneLine(message: Pick<Message, "content" | "deleted" | "attachments">): string {
  if (message.deleted) return "Message deleted";
  const text = message.content.replace(/\s+/g, " ").trim();
  if (text !== "") return text;
  return message.attachments[0]?.name ?? "Message";
}

/** A room list's line of the last message: "You: …", in groups "Ada: …". */
export function lastLine(message: Message, kind: string): string {
  const line = oneLine(message);
  if (message.mine) return `You: ${line}`;
  return kind === "direct" ? line : `${displayName(message.sender.id, message.sender.name)}: ${line}`;
}

/** The newest entry of each room. */
export function newestByRoom(entries: readonly OutboxEntry[]): ReadonlyMap<string, OutboxEntry> {
  return new Map(entries.map((entry) => [entry.room, entry]));
}

/** Whether what one wrote is newer than the last message that the room is known to have. */
export function isNewer(entry: OutboxEntry | undefined, last: Message | undefined): entry is OutboxEntry {
  if (entry === undefined || last === undefined) return entry !== undefined;
  // What failed stays where it was written; what is on its way will be the newest one, whatever the clock says.
  if (entry.status === "failed") return entry.at > last.at;
  return entry.seq === undefined || entry.seq > (last.seq ?? 0);
}

/** A stretch of text, or a link in it. */
export interface TextPart {
  readonly text: string;
  readonly href?: string;
}

const LINK = /\bhttps?:\/\/[^\s<>"]+/g;

/** Splits text at its web addresses. Closing punctuation is not taken for a part of one. */
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

/** Whether a message is nothing but a few emojis, which are shown large. */
export function isEmojiOnly(text: string): boolean {
  const bare = text.replace(/\s/g, "");
  if (bare === "" || bare.length > 24 || /[\p{L}\p{N}]/u.test(bare)) return false;
  const graphemes = [...new Intl.Segmenter().segment(bare)];
  return (
    graphemes.length <= 3 &&
    graphemes.every(({ segment }) => /\p{Extended_Pictographic}|\p{RI}/u.test(segment))
  );
}
