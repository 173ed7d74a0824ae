import { createRoom } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { type FormEvent, useId, useState } from "react";
import { errorWords } from "../logic/connection.ts";
import { displayName, parsePeople } from "../logic/names.ts";
import { useApp } from "../state/app.ts";
import { Button } from "../ui/Button.tsx";
import { Chips } from "../ui/Chips.tsx";
import { Dialog } from "../ui/Dialog.tsx";

/** Makes a room: private or public, with a name and its first members. */
export function NewRoomDialog({ onClose }: { onClose: () => void }) {
  const client = useTidings();
  const { user, go } = useApp();
  const form = useId();
  const [kind, setKind] = useState<"private" | "public">("private");
  const [name, setName] = useState("");
  const [people, setPeople] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const members = parsePeople(people, user);

  const create = async (event: FormEvent) => {
    event.preventDefault();
    if (name.trim() === "") return setError("Please give the room a name.");
    setBusy(true);
    try {
      const made = await createRoom(client, {
        kind,
        name: name.trim(),
        members: members.map((member) => ({ user: member.user })),
      });
      onClose();
      go({ room: made.room });
    } catch (failure) {
      setError(errorWords(failure));
      setBusy(false);
    }
  };

  return (
    <Dialog
      title="New room"
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" type="submit" form={form} busy={busy}>
            Create room
          </Button>
        </>
      }
    >
      <form id={form} className="form" onSubmit={create} noValidate>
        <label htmlFor={`${form}-name`}>Name</label>
        <input
          id={`${form}-name`}
          data-autofocus=""
          value={name}
          maxLength={200}
          autoComplete="off"
          placeholder="Kitchen"
          onChange={(event) => setName(event.target.value)}
          aria-invalid={error !== undefined && name.trim() === ""}
        />
        <fieldset className="choice">
          <legend>Who can join</legend>
          <label>
            <input
              type="radio"
              name="kind"
              checked={kind === "private"}
              onChange={() => setKind("private")}
            />
            <span>
              <strong>Private</strong>
              <small>Only who is added</small>
            </span>
          </label>
          <label>
            <input type="radio" name="kind" checked={kind === "public"} onChange={() => setKind("public")} />
            <span>
              <strong>Public</strong>
              <small>Anybody can find and join it</small>
            </span>
          </label>
        </fieldset>
        <label htmlFor={`${form}-people`}>
          Members <small>(optional)</small>
        </label>
        <input
          id={`${form}-people`}
          value={people}
          autoComplete="off"
          placeholder="Ada Lovelace, Bo"
          aria-describedby={`${form}-hint`}
          onChange={(event) => setPeople(event.target.value)}
        />
        <p id={`${form}-hint`} className="hint">
          Names separated by commas.
        </p>
        <Chips
          people={members.map((member) => ({ id: member.user, name: displayName(member.user, member.name) }))}
        />
        {error && (
          <p className="form-error" role="alert">
            {error}
          </p>
        )}
      </form>
    </Dialog>
  );
}
