import type { Message } from "@tidings/client";
import { messagesAround } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { useEffect, useRef, useState } from "react";
import { errorText } from "../logic/connection.ts";
import { senderName } from "../logic/names.ts";
import { exactTime } from "../logic/time.ts";
import { Dialog } from "../ui/Dialog.tsx";

interface ContextProps {
  readonly room: string;
  readonly seq: number;
  readonly onClose: () => void;
}

/** Shows an old message with the messages around it, without loading everything in between. */
export function ContextDialog({ room, seq, onClose }: ContextProps) {
  const client = useTidings();
  const [messages, setMessages] = useState<readonly Message[]>();
  const [error, setError] = useState<string>();
  const targetItem = useRef<HTMLLIElement>(null);
  useEffect(() => {
    let current = true;
    messagesAround(client, room, seq, 21).then(
      (found) => current && setMessages(found),
      (failure: unknown) => current && setError(errorText(failure)),
    );
    return () => {
      current = false;
    };
  }, [client, room, seq]);
  useEffect(() => {
    if (messages) targetItem.current?.scrollIntoView({ block: "center" });
  }, [messages]);
  return (
    <Dialog title="Earlier in this room" onClose={onClose} wide>
      {error && <p role="alert">{error}</p>}
      {!messages && !error && <p className="hint">Loading…</p>}
      <ol className="context column">
        {messages?.map((message) => (
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
