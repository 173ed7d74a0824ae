import { createRoom } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { type FormEvent, useId, useState } from "react";
import { errorWords } from "../logic/connection.ts";
import { parsePeople } from "../logic/names.ts";
import { useApp } from "../state/app.ts";
import { Button } from "../ui/Button.tsx";
import { Dialog } from "../ui/Dialog.tsx";

/** Begins a conversation with one person, or opens the one there is. */
export function DirectDialog({ onClose }: { onClose: () => void }) {
  const client = useTidings();
  const { user, go } = useApp();
  const form = useId();
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();

  const begin = async (event: FormEvent) => {
    event.preventDefault();
    const [person] = parsePeople(name);
    if (person === undefined) return setError("Please type a name.");
    if (person.user === user) return setError("That is you. Please type the name of somebody else.");
    setBusy(true);
    try {
      const made = await createRoom(client, { kind: "direct", members: [{ user: person.user }] });
      onClose();
      go({ room: made.room });
    } catch (failure) {
      setError(errorWords(failure));
      setBusy(false);
    }
  };

  return (
    <Dialog
      title="Message a person"
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" type="submit" form={form} busy={busy}>
            Open conversation
          </Button>
        </>
      }
    >
      <form id={form} className="form" onSubmit={begin} noValidate>
        <label htmlFor={`${form}-name`}>Name</label>
        <input
          id={`${form}-name`}
          data-autofocus=""
          value={name}
          autoComplete="off"
          placeholder="Ada Lovelace"
          onChange={(event) => setName(event.target.value)}
          aria-describedby={`${form}-hint`}
        />
        <p id={`${form}-hint`} className="hint">
          They find your message when they sign in with this name, also for the first time.
        </p>
        {error && (
          <p className="form-error" role="alert">
            {error}
          </p>
        )}
      </form>
    </Dialog>
  );
}
