import { useId, useState } from "react";
import { displayName, parsePeople } from "../logic/names.ts";
import { useApp } from "../state/app.ts";
import { Chips } from "../ui/Chips.tsx";
import { FormDialog } from "./FormDialog.tsx";
import { useCreateRoom } from "./useCreateRoom.ts";

/** Creates a private or public room with a name and its first members. */
export function NewRoomDialog({ onClose }: { onClose: () => void }) {
  const { user } = useApp();
  const id = useId();
  const [kind, setKind] = useState<"private" | "public">("private");
  const [name, setName] = useState("");
  const [people, setPeople] = useState("");
  const { busy, error, setError, create } = useCreateRoom(onClose);
  const members = parsePeople(people, user);

  const submit = () => {
    if (name.trim() === "") return setError("Please give the room a name.");
    void create({ kind, name: name.trim(), members: members.map((member) => ({ user: member.user })) });
  };

  return (
    <FormDialog
      title="New room"
      action="Create room"
      busy={busy}
      error={error}
      onSubmit={submit}
      onClose={onClose}
    >
      <label htmlFor={`${id}-name`}>Name</label>
      <input
        id={`${id}-name`}
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
        <label className="line">
          <input type="radio" name="kind" checked={kind === "private"} onChange={() => setKind("private")} />
          <span className="column">
            <strong>Private</strong>
            <small>Only people who are added</small>
          </span>
        </label>
        <label className="line">
          <input type="radio" name="kind" checked={kind === "public"} onChange={() => setKind("public")} />
          <span className="column">
            <strong>Public</strong>
            <small>Anyone can find and join it</small>
          </span>
        </label>
      </fieldset>
      <label htmlFor={`${id}-people`}>
        Members <small>(optional)</small>
      </label>
      <input
        id={`${id}-people`}
        value={people}
        autoComplete="off"
        placeholder="Ada Lovelace, Bo"
        aria-describedby={`${id}-hint`}
        onChange={(event) => setPeople(event.target.value)}
      />
      <p id={`${id}-hint`} className="hint">
        Separate names with commas.
      </p>
      <Chips
        people={members.map((member) => ({ id: member.user, name: displayName(member.user, member.name) }))}
      />
    </FormDialog>
  );
}
