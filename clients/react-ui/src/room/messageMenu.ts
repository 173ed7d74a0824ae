import type { Message, RoomSummary } from "@tidings/client";
import { attachmentKind, fileName, picturesOf } from "../logic/attachments.js";
import { shorten } from "../logic/plainText.js";
import { linkify } from "../logic/preview.js";
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
    items.push(...openItems(message, actions), ...fileItems(message, actions));
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

/** The most links of a message that its menu has. Tab reaches all of them. */
const MAX_OPEN_ITEMS = 5;
/** The most characters of an address in the menu. */
const MAX_LINK_CHARS = 40;

/** The items that go to the quoted message, and that open the links of a message and its files at other servers. */
function openItems({ replyTo, content, attachments }: Message, { jumpTo }: MessageActions): MenuItem[] {
  const links = new Map<string, string>();
  for (const { href, text } of linkify(content)) if (href) links.set(href, text);
  for (const one of attachments)
    if (/^https?:/i.test(one.url ?? "")) links.set(one.url as string, fileName(one));
  const open = ([href, text]: [string, string]): MenuItem => ({
    label: `Open ${shorten(text, MAX_LINK_CHARS)}`,
    icon: "link",
    onSelect: () => void window.open(href, "_blank", "noopener,noreferrer"),
  });
  return [
    ...(replyTo === undefined
      ? []
      : [{ label: "Go to quoted message", icon: "arrowUp", onSelect: () => jumpTo(replyTo) } as const]),
    ...[...links].slice(0, MAX_OPEN_ITEMS).map(open),
  ];
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
