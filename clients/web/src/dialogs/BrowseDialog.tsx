import { joinRoom, publicRooms } from "@tidings/client/http";
import { useRooms, useTidings } from "@tidings/react";
import { useCallback, useState } from "react";
import { plural } from "../logic/names.ts";
import { useApp } from "../state/app.ts";
import { Avatar } from "../ui/Avatar.tsx";
import { Button } from "../ui/Button.tsx";
import { Dialog } from "../ui/Dialog.tsx";
import { FormError } from "../ui/FormError.tsx";
import { SearchField } from "../ui/SearchField.tsx";
import { useAction } from "../ui/useAction.ts";
import { usePages } from "../ui/usePages.ts";

const TYPING_DELAY_MS = 200;

/** A dialog to search for public rooms and join them. */
export function BrowseDialog({ onClose }: { onClose: () => void }) {
  const client = useTidings();
  const { go } = useApp();
  const ownRooms = useRooms().items;
  const [query, setQuery] = useState("");
  const [joining, setJoining] = useState<string>();
  const { busy, error: refused, run } = useAction();

  const filter = query.trim();
  const fetchPage = useCallback(
    async (cursor: string | undefined) => {
      const { rooms, next } = await publicRooms(client, {
        ...(filter !== "" && { query: filter }),
        ...(cursor !== undefined && { cursor }),
      });
      return { items: rooms, next };
    },
    [client, filter],
  );
  const { page, more, error } = usePages(fetchPage, TYPING_DELAY_MS);

  const open = (room: string, member: boolean) => {
    setJoining(room);
    return run(async () => {
      if (!member) await joinRoom(client, room);
      onClose();
      go({ room });
    });
  };

  return (
    <Dialog title="Public rooms" onClose={onClose}>
      <SearchField
        label="Find a public room"
        placeholder="Find by name"
        value={query}
        onChange={setQuery}
        data-autofocus=""
      />
      <FormError text={refused ?? error} />
      {!page && !error && <p className="hint">Loading…</p>}
      {page && page.items.length === 0 && !page.next && (
        <p className="hint">{filter ? "No public rooms found." : "There are no public rooms yet."}</p>
      )}
      <ul className="browse column">
        {page?.items.map((room) => {
          const member = ownRooms.some((one) => one.id === room.room);
          return (
            <li key={room.room} className="line">
              <Avatar id={room.room} name={room.name ?? ""} icon="hash" />
              <span className="two-lines">
                <strong>{room.name || "Unnamed room"}</strong>
                <span>{plural(room.members, "member")}</span>
              </span>
              <Button
                variant={member ? "plain" : "primary"}
                busy={busy && joining === room.room}
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
        <Button variant="quiet" onClick={more}>
          Show more
        </Button>
      )}
    </Dialog>
  );
}
