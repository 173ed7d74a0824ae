import { useTidings } from "@tidings/react";
import { useEffect, useRef, useState } from "react";
import { isSystemEvent, systemLines } from "../logic/systemLines.js";
import { namesOf } from "../state/names.js";

/** The number of announcements that stay in the page. */
const MAX_ANNOUNCED_LINES = 5;

interface SystemRowProps {
  readonly rowKey: string;
  readonly lines: readonly string[];
}

/** The row of changes of members and settings between two messages. */
export function SystemRow({ rowKey, lines }: SystemRowProps) {
  return (
    <div className="tidings-row-system" data-key={rowKey} data-testid="system-row">
      {lines.map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines have no state
        <p key={index} dir="auto">
          {line}
        </p>
      ))}
    </div>
  );
}

interface SystemAnnouncerProps {
  readonly room: string;
  readonly user: string | undefined;
  readonly nameOf: (user: string) => string;
  /** Whether the room is up to date. The events of a replay are not announced. */
  readonly live: boolean;
}

/** Lets screen readers announce changes that others make to the members and settings of the room. */
export function SystemAnnouncer({ room, user, nameOf, live }: SystemAnnouncerProps) {
  const client = useTidings();
  const [lines, setLines] = useState<readonly { key: string; text: string }[]>([]);
  const latest = useRef({ nameOf, live });
  useEffect(() => {
    latest.current = { nameOf, live };
  });
  useEffect(
    () =>
      client.on("event", (event) => {
        if (event.room !== room || !latest.current.live) return;
        if (!isSystemEvent(event) || event.by === user) return;
        if (event.type === "member:added") namesOf(client).learn([event]);
        const added = systemLines([event], latest.current.nameOf, user).map((text, index) => ({
          key: `${event.seq}-${index}`,
          text,
        }));
        setLines((before) => [...before, ...added].slice(-MAX_ANNOUNCED_LINES));
      }),
    [client, room, user],
  );
  return (
    <div className="tidings-visually-hidden" role="log" aria-label="Changes of the room">
      {lines.map(({ key, text }) => (
        <p key={key}>{text}</p>
      ))}
    </div>
  );
}
