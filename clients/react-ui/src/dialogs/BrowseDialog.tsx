import { joinRoom, publicRooms } from "@tidings/client/http";
import { useRooms, useTidings } from "@tidings/react";
import { type ReactNode, useCallback, useState } from "react";
import { plural } from "../logic/names.js";
import { roomName } from "../logic/title.js";
import { useChatUi } from "../state/chatUi.js";
import { Button } from "../ui/Button.js";
import { ChatAvatar } from "../ui/ChatAvatar.js";
import { Dialog } from "../ui/Dialog.js";
import { FormError } from "../ui/FormError.js";
import { SearchField } from "../ui/SearchField.js";
import { useAction } from "../ui/useAction.js";
import { usePages } from "../ui/usePages.js";

const TYPING_DELAY_MS = 200;

/** A dialog to search for public rooms and join them. */
export function BrowseDialog({ onClose }: { readonly onClose: () => void }): ReactNode {
  const client = useTidings();
  const { go } = useChatUi();
  const ownRooms = useRooms().items;
  const [query, setQuery] = useState("");
  const [joining, setJoining] = useState<string>();
  const { busy, error: joinError, run } = useAction();

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

  const open = (room: string, isMember: boolean) => {
    setJoining(room);
    return run(async () => {
      if (!isMember) await joinRoom(client, room);
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
      <FormError text={joinError ?? error} />
      {!page && !error && <p className="tidings-hint">Loading…</p>}
      {page && page.items.length === 0 && !page.next && (
        <p className="tidings-hint">{filter ? "No public rooms found." : "There are no public rooms yet."}</p>
      )}
      <ul className="tidings-browse tidings-column">
        {page?.items.map((room) => {
          const isMember = ownRooms.some((one) => one.id === room.id);
          return (
            <li key={room.id} className="tidings-line">
              <ChatAvatar id={room.id} name={room.name ?? ""} icon="hash" />
              <span className="tidings-two-lines">
                <strong dir="auto">{roomName(room)}</strong>
                <span>{plural(room.members, "member")}</span>
              </span>
              <Button
                variant={isMember ? "plain" : "primary"}
                busy={busy && joining === room.id}
                aria-label={`${isMember ? "Open" : "Join"} ${roomName(room)}`}
                onClick={() => void open(room.id, isMember)}
              >
                {isMember ? "Open" : "Join"}
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
