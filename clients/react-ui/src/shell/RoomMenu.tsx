import type { RoomSummary } from "@tidings/client";
import { setNotify } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { useEffect } from "react";
import { errorText } from "../logic/connection.js";
import { MUTE_CHOICES, unmuteLabel } from "../logic/muted.js";
import { NOTIFY_LABELS, NOTIFY_LEVELS } from "../logic/notify.js";
import { roomTitle } from "../logic/title.js";
import { useChatUi } from "../state/chatUi.js";
import { refreshMutes } from "../state/keepMutes.js";
import { linkTo } from "../state/route.js";
import { useMutedRooms } from "../state/useMutedRooms.js";
import { copyText } from "../ui/copyText.js";
import { Menu, type MenuItem } from "../ui/Menu.js";
import { useToast } from "../ui/Toasts.js";
import type { Point } from "../ui/useContextMenu.js";

interface RoomMenuProps {
  readonly room: RoomSummary;
  readonly anchor: HTMLElement;
  readonly at: Point | undefined;
  /** Whether the user has marked the room as unread. */
  readonly marked: boolean;
  readonly onMark: (marked: boolean) => void;
  readonly onClose: () => void;
}

/** The menu of a room in the list. */
export function RoomMenu({ room, anchor, at, marked, onMark, onClose }: RoomMenuProps) {
  const client = useTidings();
  const { href, mutes } = useChatUi();
  const muted = useMutedRooms();
  const toast = useToast();
  // Another device may have muted the room.
  useEffect(() => {
    if (mutes) void refreshMutes(mutes);
  }, [mutes]);
  const run = (change: Promise<void>) => void change.catch((error: unknown) => toast(errorText(error)));
  const last = room.lastMessage?.seq;
  const markRead = () => {
    onMark(false);
    if (last !== undefined) client.room(room.id).markRead(last, { acrossGaps: true });
  };
  const link = linkTo(href, { room: room.id });
  const items: (MenuItem | "line")[] = [
    marked || room.unread > 0
      ? { label: "Mark as read", icon: "check", onSelect: markRead }
      : { label: "Mark as unread", icon: "chat", onSelect: () => onMark(true) },
  ];
  if (link !== undefined) {
    const copied = () => toast("Copied");
    items.push({
      label: "Copy link",
      icon: "link",
      onSelect: () => void copyText(link).then(copied, () => {}),
    });
  }
  items.push("line");
  for (const level of NOTIFY_LEVELS) {
    items.push({
      label: NOTIFY_LABELS[level],
      checked: room.notify === level,
      onSelect: () => {
        if (room.notify !== level) run(setNotify(client, room.id, level));
      },
    });
  }
  const until = muted?.get(room.id);
  if (mutes && until !== undefined) {
    const label = unmuteLabel(until, Date.now());
    items.push("line", { label, icon: "bell", onSelect: () => run(mutes.unmute(room.id)) });
  } else if (mutes && muted && room.notify !== "none") {
    items.push("line");
    for (const { label, ms } of MUTE_CHOICES) {
      const onSelect = () => run(mutes.mute(room.id, ms && Date.now() + ms));
      items.push({ label, icon: "bellOff", onSelect });
    }
  }
  return <Menu anchor={anchor} at={at} label={`Room ${roomTitle(room)}`} items={items} onClose={onClose} />;
}
