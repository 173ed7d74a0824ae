import { setMember } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { type FormEvent, useId } from "react";
import { displayName, listNames } from "../logic/names.js";
import { usePeopleField } from "../state/usePeopleField.js";
import { Button } from "../ui/Button.js";
import { PeopleInput, PeopleQuestion } from "../ui/PeopleInput.js";
import { useToast } from "../ui/Toasts.js";
import { useAction } from "../ui/useAction.js";

/** A form that adds people by name. */
export function AddMember({ room }: { room: string }) {
  const client = useTidings();
  const toast = useToast();
  const id = useId();
  const field = usePeopleField();
  const { busy, run } = useAction(toast);
  const add = (event: FormEvent) => {
    event.preventDefault();
    if (field.typed.length === 0) return;
    void run(async () => {
      const people = await field.resolve();
      if (people === undefined) return;
      for (const person of people) await setMember(client, room, person.user);
      toast(`Added ${listNames(people.map((person) => displayName(person.user, person.name)))}`);
      field.change("");
    });
  };
  return (
    <form className="tidings-add-member" onSubmit={add}>
      <label htmlFor={id} className="tidings-visually-hidden">
        Add people by name
      </label>
      <PeopleInput id={id} field={field} placeholder="Add people by name" />
      <Button
        variant="primary"
        type="submit"
        icon="personAdd"
        busy={busy}
        disabled={field.value.trim() === ""}
      >
        {field.question ? "Add anyway" : "Add"}
      </Button>
      <PeopleQuestion field={field} />
    </form>
  );
}
