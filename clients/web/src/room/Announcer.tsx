import type { Message } from "@tidings/client";
import { useEffect, useRef, useState } from "react";
import { senderName } from "../logic/names.ts";
import { previewText } from "../logic/preview.ts";

/** The number of announcements that stay in the page. */
const MAX_LINES = 5;

/** Lets screen readers announce new messages of others, but not the history. */
export function Announcer({ messages, live }: { messages: readonly Message[]; live: boolean }) {
  const announcedSeq = useRef<number>(undefined);
  const [lines, setLines] = useState<readonly { seq: number; text: string }[]>([]);
  useEffect(() => {
    const newest = messages.findLast((message) => message.seq !== undefined)?.seq ?? 0;
    if (announcedSeq.current === undefined) {
      if (live) announcedSeq.current = newest;
      return;
    }
    const from = announcedSeq.current;
    if (newest <= from) return;
    announcedSeq.current = newest;
    const added: { seq: number; text: string }[] = [];
    for (let at = messages.length - 1; at >= 0; at -= 1) {
      const message = messages[at];
      if (message?.seq === undefined) continue;
      if (message.seq <= from || added.length === MAX_LINES) break;
      if (message.mine || message.deleted) continue;
      added.unshift({ seq: message.seq, text: `${senderName(message)}: ${previewText(message)}` });
    }
    if (added.length > 0) setLines((all) => [...all, ...added].slice(-MAX_LINES));
  }, [messages, live]);
  return (
    <div className="visually-hidden" role="log" aria-label="New messages">
      {lines.map((line) => (
        <p key={line.seq}>{line.text}</p>
      ))}
    </div>
  );
}
