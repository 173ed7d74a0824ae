import { useId, useState } from "react";
import { parsePeople } from "../logic/names.ts";
import { useApp } from "../state/app.ts";
import { FormDialog } from "./FormDialog.tsx";
import { useCreate } from "./useCreate.ts";

/** Begins a conversation with one person, or opens the one there is. */
export function DirectDialog({ onClose }: { onClose: () => void }) {
  const { user } = useApp();
  const id = useId();
  const [name, setName] = useState("");
  const { busy, error, setError, create } = useCreate(onClose);

  const begin = () => {
    const [person] = parsePeople(name);
    if (person === undefined) return setError("Please type a name.");
    if (person.user === user) return setError("That is you. Please type the name of somebody else.");
    void create({ kind: "direct", members: [{ user: person.user }] });
  };

  return (
    <FormDialog
      title="Message a person"
      action="Open conversation"
      busy={busy}
      error={error}
      onSubmit={begin}
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
        They find your message when they sign in with this name, also for the first time.
      </p>
    </FormDialog>
  );
}
