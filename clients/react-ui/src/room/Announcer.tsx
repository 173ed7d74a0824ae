import type { Message } from "@tidings/client";
import { useState } from "react";
import { senderName } from "../logic/names.js";
import { previewText } from "../logic/preview.js";

/** The number of announcements that stay in the page. */
const MAX_LINES = 5;

interface Line {
  readonly seq: number;
  readonly text: string;
}

interface Announced {
  /** Messages up to this seq are not announced any more. Undefined until the newest messages are loaded and live. */
  readonly announcedSeq?: number | undefined;
  readonly lines: readonly Line[];
}

interface AnnouncerProps {
  readonly messages: readonly Message[];
  readonly live: boolean;
  /** Whether newer messages are not loaded. Added messages are then part of the history. */
  readonly behind: boolean;
}

/**
 * Lets screen readers announce new messages of others, but not the history. It computes the announcements while it
 * renders, not in an effect: with an effect, each live message would cause two renders. When the messages of a burst
 * arrive faster than React starts the second one, React counts these renders as nested and stops at its limit.
 */
export function Announcer({ messages, live, behind }: AnnouncerProps) {
  const [{ announcedSeq, lines }, setAnnounced] = useState<Announced>({ lines: [] });
  const newest = messages.findLast((message) => message.seq !== undefined)?.seq ?? 0;
  const first = live ? newest : undefined;
  const nextSeq = behind ? undefined : announcedSeq === undefined ? first : Math.max(announcedSeq, newest);
  if (nextSeq !== announcedSeq) {
    const added = announcedSeq === undefined || behind ? [] : linesAbove(announcedSeq, messages);
    setAnnounced({ announcedSeq: nextSeq, lines: [...lines, ...added].slice(-MAX_LINES) });
  }
  return (
    <div className="tidings-visually-hidden" role="log" aria-label="New messages">
      {lines.map((line) => (
        <p key={line.seq}>{line.text}</p>
      ))}
    </div>
  );
}

/** The lines of the newest messages of others above a seq, oldest first. */
function linesAbove(seq: number, messages: readonly Message[]): Line[] {
  const lines: Line[] = [];
  for (let at = messages.length - 1; at >= 0 && lines.length < MAX_LINES; at -= 1) {
    const message = messages[at];
    if (message?.seq === undefined) continue;
    if (message.seq <= seq) break;
    if (message.mine || message.deleted) continue;
    lines.unshift({ seq: message.seq, text: `${senderName(message)}: ${previewText(message)}` });
  }
  return lines;
}
