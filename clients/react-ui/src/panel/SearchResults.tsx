import { search } from "@tidings/client/http";
import { useRooms, useTidings } from "@tidings/react";
import { useMemo } from "react";
import { plural, senderName } from "../logic/names.js";
import { originalTime } from "../logic/originalTime.js";
import { listTime } from "../logic/time.js";
import { roomTitle } from "../logic/title.js";
import { useChatUi } from "../state/chatUi.js";
import { useNow } from "../state/useNow.js";
import { Button } from "../ui/Button.js";
import { ChatAvatar } from "../ui/ChatAvatar.js";
import { FormError } from "../ui/FormError.js";
import { usePages } from "../ui/usePages.js";

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
  const { goToMessage } = useChatUi();
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

  const now = useNow(60_000);
  const count = page?.items.length ?? 0;
  const stateText = busy ? "Searching…" : page && count === 0 && !page.next ? "No messages found" : "";
  return (
    <section aria-label="Messages found">
      {heading && <h2 className="tidings-side-heading">{heading}</h2>}
      <p className="tidings-hint tidings-results-state" role="status">
        {stateText ||
          (page && <span className="tidings-visually-hidden">{plural(count, "message")} found</span>)}
      </p>
      <FormError text={error} />
      <ul className="tidings-results">
        {page?.items.map(({ message, snippet }) => {
          const name = senderName(message);
          const summary = rooms.find((one) => one.id === message.room);
          return (
            <li key={message.key}>
              <button
                type="button"
                className="tidings-result tidings-hoverable"
                onClick={() => message.seq !== undefined && goToMessage(message.room, message.seq)}
              >
                <ChatAvatar
                  id={message.sender.id}
                  name={name}
                  size="small"
                  picture={message.sender.picture}
                />
                <span className="tidings-result-body">
                  <span className="tidings-result-head">
                    <strong className="tidings-ellipsis">{message.mine ? "You" : name}</strong>
                    {room === undefined && (
                      <span className="tidings-result-room tidings-ellipsis">in {roomTitle(summary)}</span>
                    )}
                    <time dateTime={new Date(originalTime(message)).toISOString()}>
                      {listTime(originalTime(message), now)}
                    </time>
                  </span>
                  <span className="tidings-result-text" dir="auto">
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
