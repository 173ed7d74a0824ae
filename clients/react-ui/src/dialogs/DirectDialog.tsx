import { type ReactNode, useId } from "react";
import { useChatUi } from "../state/chatUi.js";
import { usePeopleField } from "../state/usePeopleField.js";
import { PeopleInput, PeopleQuestion } from "../ui/PeopleInput.js";
import { FormDialog } from "./FormDialog.js";
import { useCreateRoom } from "./useCreateRoom.js";

/** A dialog that starts a conversation with one person, or opens the existing one. */
export function DirectDialog({ onClose }: { readonly onClose: () => void }): ReactNode {
  const { user } = useChatUi();
  const id = useId();
  const field = usePeopleField({ single: true });
  const { busy, error, setError, create } = useCreateRoom(onClose);

  const submit = () => {
    const [person] = field.typed;
    if (person === undefined) return setError("Please type a name.");
    if (person.user === user) return setError("This is your own name. Please type another person's name.");
    void create(async () => {
      const [found] = (await field.resolve()) ?? [];
      return found && { kind: "direct", members: [{ user: found.user }] };
    });
  };

  return (
    <FormDialog
      title="Message a person"
      action={field.question ? "Open anyway" : "Open conversation"}
      busy={busy}
      error={error}
      onSubmit={submit}
      onClose={onClose}
    >
      <label htmlFor={`${id}-name`}>Name</label>
      <PeopleInput
        id={`${id}-name`}
        field={field}
        data-autofocus=""
        placeholder="Ada Lovelace"
        aria-describedby={`${id}-hint`}
      />
      <p id={`${id}-hint`} className="tidings-hint">
        Find a person with whom you share a room, or type the name of another person.
      </p>
      <PeopleQuestion field={field} />
    </FormDialog>
  );
}
