import { setMember } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { type FormEvent, useId, useState } from "react";
import { displayName, listNames, parsePeople } from "../logic/names.ts";
import { Button } from "../ui/Button.tsx";
import { useToast } from "../ui/Toasts.tsx";
import { useAction } from "../ui/useAction.ts";

/** A form that adds people by name. */
export function AddMember({ room }: { room: string }) {
  const client = useTidings();
  const toast = useToast();
  const id = useId();
  const [names, setNames] = useState("");
  const { busy, run } = useAction(toast);
  const add = (event: FormEvent) => {
    event.preventDefault();
    const people = parsePeople(names);
    if (people.length === 0) return;
    void run(async () => {
      for (const person of people) await setMember(client, room, person.user);
      toast(`Added ${listNames(people.map((person) => displayName(person.user, person.name)))}`);
      setNames("");
    });
  };
  return (
    <form className="add-member" onSubmit={add}>
      <label htmlFor={id} className="visually-hidden">
        Add people by name
      </label>
      <input
        id={id}
        value={names}
        autoComplete="off"
        placeholder="Add people by name"
        onChange={(event) => setNames(event.target.value)}
      />
      <Button variant="primary" type="submit" icon="personAdd" busy={busy} disabled={names.trim() === ""}>
        Add
      </Button>
    </form>
  );
}
