import { messagesAround } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { useCallback, useEffect, useRef } from "react";
import { senderName } from "../logic/names.ts";
import { exactTime } from "../logic/time.ts";
import { Dialog } from "../ui/Dialog.tsx";
import { usePages } from "../ui/usePages.ts";

/** Shows an old message with the messages around it, without loading everything in between. */
export function ContextDialog({ room, seq, onClose }: { room: string; seq: number; onClose: () => void }) {
  const client = useTidings();
  const targetItem = useRef<HTMLLIElement>(null);
  const fetchPage = useCallback(
    async () => ({ items: await messagesAround(client, room, seq, 21), next: null }),
    [client, room, seq],
  );
  const { page, error } = usePages(fetchPage, 0);
  useEffect(() => {
    if (page) targetItem.current?.scrollIntoView({ block: "center" });
  }, [page]);
  return (
    <Dialog title="Earlier in this room" onClose={onClose} wide>
      {error && <p role="alert">{error}</p>}
      {!page && !error && <p className="hint">Loading…</p>}
      <ol className="context column">
        {page?.items.map((message) => (
          <li
            key={message.key}
            ref={message.seq === seq ? targetItem : null}
            data-found={message.seq === seq || undefined}
          >
            <p className="context-head">
              <strong>{message.mine ? "You" : senderName(message)}</strong>
              <time dateTime={new Date(message.at).toISOString()}>{exactTime(message.at)}</time>
            </p>
            <p className="context-text">
              {message.deleted ? <em>This message was deleted</em> : message.content}
            </p>
          </li>
        ))}
      </ol>
    </Dialog>
  );
}
