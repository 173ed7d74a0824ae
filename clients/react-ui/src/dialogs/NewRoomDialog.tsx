import { type ReactNode, useId, useState } from "react";
import { displayName } from "../logic/names.js";
import { useChatUi } from "../state/chatUi.js";
import { usePeopleField } from "../state/usePeopleField.js";
import { Chips } from "../ui/Chips.js";
import { PeopleInput, PeopleQuestion } from "../ui/PeopleInput.js";
import { FormDialog } from "./FormDialog.js";
import { useCreateRoom } from "./useCreateRoom.js";

/** A dialog that creates a private or public room with a name and its first members. */
export function NewRoomDialog({ onClose }: { readonly onClose: () => void }): ReactNode {
  const { user } = useChatUi();
  const id = useId();
  const [kind, setKind] = useState<"private" | "public">("private");
  const [name, setName] = useState("");
  const field = usePeopleField({ me: user });
  const { busy, error, setError, create } = useCreateRoom(onClose);

  const submit = () => {
    if (name.trim() === "") return setError("Please give the room a name.");
    void create(async () => {
      const members = await field.resolve();
      return (
        members && { kind, name: name.trim(), members: members.map((member) => ({ user: member.user })) }
      );
    });
  };

  return (
    <FormDialog
      title="New room"
      action={field.question ? "Create anyway" : "Create room"}
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
      <fieldset className="tidings-choice">
        <legend>Who can join</legend>
        <label className="tidings-line">
          <input type="radio" name="kind" checked={kind === "private"} onChange={() => setKind("private")} />
          <span className="tidings-column">
            <strong>Private</strong>
            <small>Only people who are added</small>
          </span>
        </label>
        <label className="tidings-line">
          <input type="radio" name="kind" checked={kind === "public"} onChange={() => setKind("public")} />
          <span className="tidings-column">
            <strong>Public</strong>
            <small>Anyone can find and join it</small>
          </span>
        </label>
      </fieldset>
      <label htmlFor={`${id}-people`}>
        Members <small>(optional)</small>
      </label>
      <PeopleInput
        id={`${id}-people`}
        field={field}
        placeholder="Ada Lovelace, Bo"
        aria-describedby={`${id}-hint`}
      />
      <p id={`${id}-hint`} className="tidings-hint">
        Separate names with commas.
      </p>
      <Chips
        people={field.typed.map((member) => ({
          id: member.user,
          name: displayName(member.user, member.name),
        }))}
      />
      <PeopleQuestion field={field} />
    </FormDialog>
  );
}
