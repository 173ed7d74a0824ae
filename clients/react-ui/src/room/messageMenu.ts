import type { Message, RoomSummary } from "@tidings/client";
import { attachmentKind, fileName, picturesOf } from "../logic/attachments.js";
import { copyText } from "../ui/copyText.js";
import type { MenuItem } from "../ui/Menu.js";
import type { MessageActions } from "./actions.js";
import { mayChange, mayWrite } from "./permissions.js";

/** What the menu needs besides `MessageActions`. */
interface MenuCallbacks {
  readonly openDetails: () => void;
  readonly openPicker: () => void;
  readonly copied: () => void;
  /** The address of the message, if messages have addresses. */
  readonly link: string | undefined;
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
    const copy = () => void copyText(message.content).then(callbacks.copied, () => {});
    items.push({ label: "Copy text", icon: "copy", onSelect: copy });
    items.push(...fileItems(message, actions));
  }
  const { link } = callbacks;
  if (link !== undefined) {
    const copyLink = () => void copyText(link).then(callbacks.copied, () => {});
    items.push({ label: "Copy link", icon: "link", onSelect: copyLink });
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

/** The items for the files of a message, so that the keyboard reaches them. */
function fileItems(message: Message, { openFile }: MessageActions): MenuItem[] {
  if (message.seq === undefined) return [];
  const [picture] = picturesOf(message.attachments);
  const others = message.attachments.filter(
    (one) => one.file !== undefined && attachmentKind(one) !== "picture",
  );
  return [
    ...(picture
      ? [{ label: "View pictures", icon: "file", onSelect: () => openFile(message, picture) } as const]
      : []),
    ...others.map(
      (one) =>
        ({
          label: `Download ${fileName(one)}`,
          icon: "download",
          onSelect: () => openFile(message, one),
        }) as const,
    ),
  ];
}
