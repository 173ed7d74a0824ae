import { useMembers } from "@tidings/react";
import { useState } from "react";
import { displayName } from "../logic/names.ts";
import { Avatar } from "../ui/Avatar.tsx";
import { Button } from "../ui/Button.tsx";
import { Dialog } from "../ui/Dialog.tsx";

interface PrivatePickerProps {
  readonly room: string;
  readonly me: string;
  readonly chosen: readonly string[];
  readonly onChoose: (users: readonly string[]) => void;
  readonly onClose: () => void;
}

/** A dialog to choose the recipients of the next messages. */
export function PrivatePicker({ room, me, chosen, onChoose, onClose }: PrivatePickerProps) {
  const { items } = useMembers(room);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set(chosen));
  const others = (items ?? []).filter((member) => member.user !== me);
  const toggle = (user: string) =>
    setPicked((before) => {
      const next = new Set(before);
      if (!next.delete(user)) next.add(user);
      return next;
    });
  const choose = () => {
    onChoose([...picked]);
    onClose();
  };
  return (
    <Dialog
      title="Send privately"
      onClose={onClose}
      confirm={
        <Button variant="primary" onClick={choose}>
          {picked.size === 0 ? "Send to everyone" : "Done"}
        </Button>
      }
    >
      <p className="hint">Only you and the members you choose here will see your next messages.</p>
      {items === undefined && <p className="hint">Loading members…</p>}
      {items !== undefined && others.length === 0 && <p className="hint">Nobody else is in this room yet.</p>}
      <ul className="pick-list">
        {others.map((member) => (
          <li key={member.user}>
            <label className="pick-item hoverable line">
              <input type="checkbox" checked={picked.has(member.user)} onChange={() => toggle(member.user)} />
              <Avatar id={member.user} name={displayName(member.user, member.name)} size="small" />
              <span>{displayName(member.user, member.name)}</span>
            </label>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}
