import type { Message, RoomSummary } from "@tidings/client";
import type { MenuItem } from "../ui/Menu.tsx";
import type { MessageActions } from "./actions.ts";
import { mayChange, mayWrite } from "./permissions.ts";

/** The actions of the menu that `MessageActions` does not contain. */
interface MenuCallbacks {
  readonly openDetails: () => void;
  readonly openPicker: () => void;
  readonly copied: () => void;
}

/** The menu of a message, with the actions that the user may take. */
export function messageMenu(
  message: Message,
  room: RoomSummary | undefined,
  actions: MessageActions,
  callbacks: MenuCallbacks,
): (MenuItem | "line")[] {
  const items: (MenuItem | "line")[] = [];
  if (message.seq !== undefined && !message.deleted && mayWrite(room)) {
    items.push(
      { label: "Reply", icon: "reply", hint: "R", onSelect: () => actions.reply(message) },
      { label: "React", icon: "smile", onSelect: callbacks.openPicker },
    );
  }
  if (!message.deleted) {
    const copy = () => void navigator.clipboard?.writeText(message.content).then(callbacks.copied, () => {});
    items.push({ label: "Copy text", icon: "copy", onSelect: copy });
  }
  items.push({ label: "Details", icon: "info", onSelect: callbacks.openDetails });
  if (mayChange(room, message)) {
    items.push("line");
    if (message.mine) {
      items.push({ label: "Edit", icon: "edit", hint: "E", onSelect: () => actions.edit(message) });
    }
    items.push({
      label: "Delete",
      icon: "trash",
      hint: "Del",
      danger: true,
      onSelect: () => actions.askDelete(message),
    });
  }
  return items;
}
