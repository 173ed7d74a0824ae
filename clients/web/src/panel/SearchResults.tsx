import type { SearchPage } from "@tidings/client";
import { search } from "@tidings/client/http";
import { useRooms, useTidings } from "@tidings/react";
import { useEffect, useState } from "react";
import { errorWords } from "../logic/connection.ts";
import { displayName } from "../logic/names.ts";
import { listTime } from "../logic/time.ts";
import { roomTitle } from "../logic/title.ts";
import { useApp } from "../state/app.ts";
import { Avatar } from "../ui/Avatar.tsx";
import { Button } from "../ui/Button.tsx";

const TYPING_PAUSE_MS = 250;

interface SearchResultsProps {
  readonly query: string;
  /** Where to search; in all rooms unless given. */
  readonly room?: string | undefined;
  readonly heading?: string;
}

interface Found {
  readonly results: SearchPage["results"];
  readonly next: string | null;
}

/** Messages that hold the words, each with the text around its first hit. A click leads to it in its room. */
export function SearchResults({ query, room, heading }: SearchResultsProps) {
  const client = useTidings();
  const { goToMessage, user } = useApp();
  const rooms = useRooms().items;
  const [found, setFound] = useState<Found>();
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const where = room === undefined ? {} : { room };

  // biome-ignore lint/correctness/useExhaustiveDependencies: where follows room
  useEffect(() => {
    let current = true;
    if (query === "") {
      setFound(undefined);
      return;
    }
    setBusy(true);
    const timer = setTimeout(() => {
      search(client, query, where).then(
        (page) => {
          if (!current) return;
          setFound(page);
          setError(undefined);
          setBusy(false);
        },
        (failure: unknown) => {
          if (!current) return;
          setError(errorWords(failure));
          setBusy(false);
        },
      );
    }, TYPING_PAUSE_MS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [client, query, room]);

  const more = async () => {
    if (!found?.next) return;
    setBusy(true);
    try {
      const page = await search(client, query, { ...where, cursor: found.next });
      setFound({ results: [...found.results, ...page.results], next: page.next });
    } catch (failure) {
      setError(errorWords(failure));
    } finally {
      setBusy(false);
    }
  };

  const now = Date.now();
  const count = found?.results.length ?? 0;
  const said = busy ? "Searching…" : found && count === 0 && !found.next ? "No messages found" : "";
  return (
    <section aria-label="Messages found">
      {heading && <h2 className="side-heading">{heading}</h2>}
      <p className="hint results-state" role="status">
        {said || (found && <span className="visually-hidden">{count} messages found</span>)}
      </p>
      {error && (
        <p className="form-error" role="alert">
          {error}
        </p>
      )}
      <ul className="results">
        {found?.results.map(({ message, snippet }) => {
          const name =
            message.sender.id === user ? "You" : displayName(message.sender.id, message.sender.name);
          const place = rooms.find((one) => one.id === message.room);
          const at = Date.parse(message.at);
          return (
            <li key={message.id}>
              <button type="button" className="result" onClick={() => goToMessage(message.room, message.seq)}>
                <Avatar
                  id={message.sender.id}
                  name={name === "You" ? displayName(user, message.sender.name) : name}
                  size="small"
                />
                <span className="result-body">
                  <span className="result-head">
                    <strong>{name}</strong>
                    {room === undefined && <span className="result-room">in {roomTitle(place)}</span>}
                    <time dateTime={message.at}>{listTime(at, now)}</time>
                  </span>
                  <span className="result-text">
                    {snippet.map((piece, index) =>
                      // biome-ignore lint/suspicious/noArrayIndexKey: pieces of one text
                      piece.hit ? <mark key={index}>{piece.text}</mark> : piece.text,
                    )}
                  </span>
                </span>
              </button>
            </li>
          );
        })}
      </ul>
      {found?.next && (
        <Button look="quiet" busy={busy} onClick={() => void more()}>
          Show more
        </Button>
      )}
    </section>
  );
}
