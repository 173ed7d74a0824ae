import { search } from "@tidings/client/http";
import { useRooms, useTidings } from "@tidings/react";
import { useMemo } from "react";
import { plural, senderName } from "../logic/names.ts";
import { listTime } from "../logic/time.ts";
import { roomTitle } from "../logic/title.ts";
import { useApp } from "../state/app.ts";
import { Avatar } from "../ui/Avatar.tsx";
import { Button } from "../ui/Button.tsx";
import { FormError } from "../ui/FormError.tsx";
import { usePages } from "../ui/usePages.ts";

const TYPING_DELAY_MS = 250;

interface SearchResultsProps {
  readonly query: string;
  /** The room to search in; all rooms by default. */
  readonly room?: string | undefined;
  readonly heading?: string;
}

/**
 * The messages that contain the words, each with the text around its first hit. A click opens the message in its room.
 */
export function SearchResults({ query, room, heading }: SearchResultsProps) {
  const client = useTidings();
  const { goToMessage, user } = useApp();
  const rooms = useRooms().items;
  const fetchPage = useMemo(() => {
    if (query === "") return undefined;
    return async (cursor: string | undefined) => {
      const { results, next } = await search(client, query, {
        ...(room !== undefined && { room }),
        ...(cursor !== undefined && { cursor }),
      });
      return { items: results, next };
    };
  }, [client, query, room]);
  const { page, busy, error, more } = usePages(fetchPage, TYPING_DELAY_MS);

  const now = Date.now();
  const count = page?.items.length ?? 0;
  const stateText = busy ? "Searching…" : page && count === 0 && !page.next ? "No messages found" : "";
  return (
    <section aria-label="Messages found">
      {heading && <h2 className="side-heading">{heading}</h2>}
      <p className="hint results-state" role="status">
        {stateText || (page && <span className="visually-hidden">{plural(count, "message")} found</span>)}
      </p>
      <FormError text={error} />
      <ul className="results">
        {page?.items.map(({ message, snippet }) => {
          const name = senderName(message);
          const summary = rooms.find((one) => one.id === message.room);
          const at = Date.parse(message.at);
          return (
            <li key={message.id}>
              <button
                type="button"
                className="result hoverable"
                onClick={() => goToMessage(message.room, message.seq)}
              >
                <Avatar id={message.sender.id} name={name} size="small" />
                <span className="result-body">
                  <span className="result-head">
                    <strong className="ellipsis">{message.sender.id === user ? "You" : name}</strong>
                    {room === undefined && (
                      <span className="result-room ellipsis">in {roomTitle(summary)}</span>
                    )}
                    <time dateTime={message.at}>{listTime(at, now)}</time>
                  </span>
                  <span className="result-text">
                    {snippet.map((piece, index) =>
                      // biome-ignore lint/suspicious/noArrayIndexKey: the pieces never change their order
                      piece.hit ? <mark key={index}>{piece.text}</mark> : piece.text,
                    )}
                  </span>
                </span>
              </button>
            </li>
          );
        })}
      </ul>
      {page?.next && (
        <Button variant="quiet" busy={busy} onClick={more}>
          Show more
        </Button>
      )}
    </section>
  );
}
