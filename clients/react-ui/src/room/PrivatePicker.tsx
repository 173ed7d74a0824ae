import { useMembers } from "@tidings/react";
import { type ReactNode, useRef, useState } from "react";
import { displayName } from "../logic/names.js";
import { Button } from "../ui/Button.js";
import { ChatAvatar } from "../ui/ChatAvatar.js";
import { Dialog } from "../ui/Dialog.js";
import { MoreMembers } from "../ui/MoreMembers.js";

/** The properties of the dialog. */
export interface PrivatePickerProps {
  readonly room: string;
  /** The id of the user. The list does not contain the user. */
  readonly me: string | undefined;
  /** The dialog opens with these members chosen. The values are their ids. */
  readonly chosen: readonly string[];
  /** Receives the ids of the chosen members; none means everyone in the room. */
  readonly onChoose: (users: readonly string[]) => void;
  /** Closes the dialog. */
  readonly onClose: () => void;
}

/** A dialog to choose the recipients of the next messages. */
export function PrivatePicker({ room, me, chosen, onChoose, onClose }: PrivatePickerProps): ReactNode {
  const { items, hasMore, loadMore } = useMembers(room);
  const list = useRef<HTMLUListElement>(null);
  const [pickedUsers, setPickedUsers] = useState<ReadonlySet<string>>(new Set(chosen));
  const others = (items ?? []).filter((member) => member.user !== me);
  const toggle = (user: string) =>
    setPickedUsers((before) => {
      const next = new Set(before);
      if (!next.delete(user)) next.add(user);
      return next;
    });
  const choose = () => {
    onChoose([...pickedUsers]);
    onClose();
  };
  return (
    <Dialog
      title="Send privately"
      onClose={onClose}
      confirm={
        <Button variant="primary" onClick={choose}>
          {pickedUsers.size === 0 ? "Send to everyone" : "Done"}
        </Button>
      }
    >
      <p className="tidings-hint">Only you and the members you choose here will see your next messages.</p>
      {items === undefined && <p className="tidings-hint">Loading members…</p>}
      {items !== undefined && others.length === 0 && (
        <p className="tidings-hint">Nobody else is in this room yet.</p>
      )}
      <ul className="tidings-pick-list" ref={list}>
        {others.map((member) => (
          <li key={member.user}>
            <label className="tidings-pick-item tidings-hoverable tidings-line">
              <input
                type="checkbox"
                checked={pickedUsers.has(member.user)}
                onChange={() => toggle(member.user)}
              />
              <ChatAvatar
                id={member.user}
                name={displayName(member.user, member.name)}
                size="small"
                picture={member.picture}
              />
              <span>{displayName(member.user, member.name)}</span>
            </label>
          </li>
        ))}
      </ul>
      {items && <MoreMembers list={list} count={others.length} hasMore={hasMore} onMore={loadMore} />}
    </Dialog>
  );
}
