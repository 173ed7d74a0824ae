import type { Message } from "@tidings/client";
import { useEffect, useRef, useState } from "react";
import { senderName } from "../logic/names.js";
import { previewText } from "../logic/preview.js";

/** The number of announcements that stay in the page. */
const MAX_LINES = 5;

interface AnnouncerProps {
  readonly messages: readonly Message[];
  readonly live: boolean;
  /** Whether newer messages are not loaded. Added messages are then part of the history. */
  readonly behind: boolean;
}

/** Lets screen readers announce new messages of others, but not the history. */
export function Announcer({ messages, live, behind }: AnnouncerProps) {
  const announcedSeq = useRef<number>(undefined);
  const [lines, setLines] = useState<readonly { seq: number; text: string }[]>([]);
  useEffect(() => {
    const newest = messages.findLast((message) => message.seq !== undefined)?.seq ?? 0;
    if (behind) {
      announcedSeq.current = undefined;
      return;
    }
    if (announcedSeq.current === undefined) {
      if (live) announcedSeq.current = newest;
      return;
    }
    const from = announcedSeq.current;
    if (newest <= from) return;
    announcedSeq.current = newest;
    const newLines: { seq: number; text: string }[] = [];
    for (let at = messages.length - 1; at >= 0; at -= 1) {
      const message = messages[at];
      if (message?.seq === undefined) continue;
      if (message.seq <= from || newLines.length === MAX_LINES) break;
      if (message.mine || message.deleted) continue;
      newLines.unshift({ seq: message.seq, text: `${senderName(message)}: ${previewText(message)}` });
    }
    if (newLines.length > 0) setLines((before) => [...before, ...newLines].slice(-MAX_LINES));
  }, [messages, live, behind]);
  return (
    <div className="tidings-visually-hidden" role="log" aria-label="New messages">
      {lines.map((line) => (
        <p key={line.seq}>{line.text}</p>
      ))}
    </div>
  );
}
