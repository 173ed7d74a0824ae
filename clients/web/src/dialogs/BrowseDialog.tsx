import type { RoomObject } from "@tidings/client";
import { joinRoom, publicRooms } from "@tidings/client/http";
import { useRooms, useTidings } from "@tidings/react";
import { useCallback, useEffect, useState } from "react";
import { errorWords } from "../logic/connection.ts";
import { useApp } from "../state/app.ts";
import { Avatar } from "../ui/Avatar.tsx";
import { Button } from "../ui/Button.tsx";
import { Dialog } from "../ui/Dialog.tsx";
import { Icon } from "../ui/Icon.tsx";

const TYPING_PAUSE_MS = 200;

interface Page {
  readonly rooms: readonly RoomObject[];
  readonly next: string | null;
}

/** Public rooms to look through and to join. */
export function BrowseDialog({ onClose }: { onClose: () => void }) {
  const client = useTidings();
  const { go } = useApp();
  const mine = useRooms().items;
  const [query, setQuery] = useState("");
  const [page, setPage] = useState<Page>();
  const [error, setError] = useState<string>();
  const [joining, setJoining] = useState<string>();

  useEffect(() => {
    let current = true;
    const timer = setTimeout(() => {
      publicRooms(client, query.trim() === "" ? {} : { query: query.trim() }).then(
        (found) => {
          if (!current) return;
          setPage(found);
          setError(undefined);
        },
        (failure: unknown) => current && setError(errorWords(failure)),
      );
    }, TYPING_PAUSE_MS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [client, query]);

  const more = useCallback(async () => {
    if (!page?.next) return;
    try {
      const found = await publicRooms(client, { query: query.trim(), cursor: page.next });
      setPage({ rooms: [...page.rooms, ...found.rooms], next: found.next });
    } catch (failure) {
      setError(errorWords(failure));
    }
  }, [client, page, query]);

  const open = async (room: string, member: boolean) => {
    setJoining(room);
    try {
      if (!member) await joinRoom(client, room);
      onClose();
      go({ room });
    } catch (failure) {
      setError(errorWords(failure));
      setJoining(undefined);
    }
  };

  return (
    <Dialog title="Public rooms" onClose={onClose}>
      <div className="search-field">
        <Icon name="search" size={18} />
        <input
          type="search"
          data-autofocus=""
          aria-label="Find a public room"
          placeholder="Find by name"
          value={query}
          onChange={(event) => setQuery(event.target.value)}
        />
      </div>
      {error && (
        <p className="form-error" role="alert">
          {error}
        </p>
      )}
      {!page && !error && <p className="hint">Loading…</p>}
      {page && page.rooms.length === 0 && !page.next && (
        <p className="hint">
          {query.trim() ? "No public room has such a name." : "There are no public rooms yet."}
        </p>
      )}
      <ul className="browse">
        {page?.rooms.map((room) => {
          const member = mine.some((one) => one.id === room.room);
          return (
            <li key={room.room}>
              <Avatar id={room.room} name={room.name ?? ""} icon="hash" />
              <span className="browse-text">
                <strong>{room.name || "Room without a name"}</strong>
                <span>{room.members === 1 ? "1 member" : `${room.members} members`}</span>
              </span>
              <Button
                look={member ? "plain" : "primary"}
                busy={joining === room.room}
                aria-label={`${member ? "Open" : "Join"} ${room.name ?? "room"}`}
                onClick={() => void open(room.room, member)}
              >
                {member ? "Open" : "Join"}
              </Button>
            </li>
          );
        })}
      </ul>
      {page?.next && (
        <Button look="quiet" onClick={() => void more()}>
          Show more
        </Button>
      )}
    </Dialog>
  );
}
