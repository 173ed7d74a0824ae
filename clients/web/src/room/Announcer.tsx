import type { Message } from "@tidings/client";
import { useEffect, useRef, useState } from "react";
import { displayName } from "../logic/names.ts";
import { oneLine } from "../logic/preview.ts";

/** How many announcements stay; those that were read out may go. */
const KEPT = 5;

/** Reads out what others write from now on, and nothing of the history. */
export function Announcer({ messages, live }: { messages: readonly Message[]; live: boolean }) {
  const heard = useRef<number>(undefined);
  const [lines, setLines] = useState<readonly { seq: number; text: string }[]>([]);
  useEffect(() => {
    const newest = messages.findLast((message) => message.seq !== undefined)?.seq ?? 0;
    if (heard.current === undefined) {
      if (live) heard.current = newest;
      return;
    }
    const from = heard.current;
    if (newest <= from) return;
    heard.current = newest;
    const fresh: { seq: number; text: string }[] = [];
    for (let at = messages.length - 1; at >= 0; at -= 1) {
      const message = messages[at];
      if (message?.seq === undefined) continue;
      if (message.seq <= from || fresh.length === KEPT) break;
      if (message.mine || message.deleted) continue;
      const name = displayName(message.sender.id, message.sender.name);
      fresh.unshift({ seq: message.seq, text: `${name}: ${oneLine(message)}` });
    }
    if (fresh.length > 0) setLines((all) => [...all, ...fresh].slice(-KEPT));
  }, [messages, live]);
  return (
    <div className="visually-hidden" role="log" aria-label="New messages">
      {lines.map((line) => (
        <p key={line.seq}>{line.text}</p>
      ))}
    </div>
  );
}
