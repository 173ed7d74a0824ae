import { useId, useState } from "react";
import { parsePeople } from "../logic/names.ts";
import { useApp } from "../state/app.ts";
import { FormDialog } from "./FormDialog.tsx";
import { useCreateRoom } from "./useCreateRoom.ts";

/** Starts a conversation with one person, or opens the existing one. */
export function DirectDialog({ onClose }: { onClose: () => void }) {
  const { user } = useApp();
  const id = useId();
  const [name, setName] = useState("");
  const { busy, error, setError, create } = useCreateRoom(onClose);

  const submit = () => {
    const [person] = parsePeople(name);
    if (person === undefined) return setError("Please type a name.");
    if (person.user === user) return setError("This is your own name. Please type another person's name.");
    void create({ kind: "direct", members: [{ user: person.user }] });
  };

  return (
    <FormDialog
      title="Message a person"
      action="Open conversation"
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
        autoComplete="off"
        placeholder="Ada Lovelace"
        onChange={(event) => setName(event.target.value)}
        aria-describedby={`${id}-hint`}
      />
      <p id={`${id}-hint`} className="hint">
        They will see your message when they sign in with this name, even for the first time.
      </p>
    </FormDialog>
  );
}
