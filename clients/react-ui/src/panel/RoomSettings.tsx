import type { RoomSummary } from "@tidings/client";
import { updateRoom } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { type FormEvent, useEffect, useId, useState } from "react";
import { Button } from "../ui/Button.js";
import { useToast } from "../ui/Toasts.js";
import { useAction } from "../ui/useAction.js";

/** The settings of a room for its admins and owners: its name, and whether it is archived. */
export function RoomSettings({ room, summary }: { room: string; summary: RoomSummary }) {
  const client = useTidings();
  const toast = useToast();
  const id = useId();
  const [name, setName] = useState(summary.name ?? "");
  const [updating, setUpdating] = useState<"name" | "archived">();
  const { busy, run } = useAction(toast);
  // Shows the new name when another user renames the room.
  useEffect(() => setName(summary.name ?? ""), [summary.name]);
  const nameChanged = name.trim() !== (summary.name ?? "") && name.trim() !== "";
  const update = (change: { name?: string; archived?: boolean }, doneText: string) => {
    setUpdating(change.name === undefined ? "archived" : "name");
    return run(async () => {
      await updateRoom(client, room, change);
      toast(doneText);
    });
  };
  const rename = (event: FormEvent) => {
    event.preventDefault();
    if (nameChanged) void update({ name: name.trim() }, `The room is now called ${name.trim()}`);
  };
  return (
    <details className="tidings-settings">
      <summary>Room settings</summary>
      {!summary.archived && (
        <form className="tidings-add-member" onSubmit={rename}>
          <label htmlFor={id} className="tidings-visually-hidden">
            Room name
          </label>
          <input
            id={id}
            value={name}
            maxLength={200}
            autoComplete="off"
            onChange={(event) => setName(event.target.value)}
          />
          <Button type="submit" busy={busy && updating === "name"} disabled={!nameChanged || busy}>
            Rename
          </Button>
        </form>
      )}
      <Button
        icon="archive"
        busy={busy && updating === "archived"}
        disabled={busy}
        onClick={() =>
          void update(
            { archived: !summary.archived },
            summary.archived ? "The room is no longer archived" : "The room is archived",
          )
        }
      >
        {summary.archived ? "Unarchive room" : "Archive room"}
      </Button>
      <p className="tidings-hint">
        {summary.archived
          ? "Nobody can write in an archived room."
          : "Members can still read an archived room, but nobody can write in it."}
      </p>
    </details>
  );
}
