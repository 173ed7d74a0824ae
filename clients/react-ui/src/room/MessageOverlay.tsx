import type { Attachment, Message, RoomSummary } from "@tidings/client";
import { deleteMessage } from "@tidings/client/changes";
import { useTidings } from "@tidings/react";
import { DetailsDialog } from "../dialogs/DetailsDialog.js";
import { Lightbox } from "../files/Lightbox.js";
import { useChatUi } from "../state/chatUi.js";
import { linkTo } from "../state/route.js";
import { ConfirmDialog } from "../ui/ConfirmDialog.js";
import { Menu } from "../ui/Menu.js";
import { useToast } from "../ui/Toasts.js";
import type { Point } from "../ui/useContextMenu.js";
import type { MessageActions } from "./actions.js";
import { EmojiPicker } from "./EmojiPicker.js";
import { messageMenu } from "./messageMenu.js";

/** The box that is open above the room: a picker, a menu or a dialog about a message. */
export type Overlay =
  | {
      what: "picker" | "menu";
      message: Message;
      anchor: HTMLElement;
      row: HTMLElement | undefined;
      at?: Point | undefined;
    }
  | { what: "delete" | "details"; message: Message }
  | { what: "pictures"; message: Message; attachment: Attachment };

interface MessageOverlayProps {
  readonly room: string;
  readonly summary: RoomSummary | undefined;
  readonly overlay: Overlay;
  readonly actions: MessageActions;
  readonly onDetails: () => void;
  /** Opens a file in another tab, or downloads it. */
  readonly onOpenFile: (message: Message, attachment: Attachment) => void;
  readonly onClose: () => void;
}

/** The picker, menu or dialog of a message. */
export function MessageOverlay(props: MessageOverlayProps) {
  const { room, summary, overlay, actions, onDetails, onOpenFile, onClose } = props;
  const handle = useTidings().room(room);
  const { href } = useChatUi();
  const toast = useToast();
  const { what, message } = overlay;
  const { seq } = message;
  switch (what) {
    case "picker":
      return (
        <EmojiPicker
          anchor={overlay.anchor}
          returnTo={overlay.row}
          align="end"
          label="React with"
          onPick={(emoji) => actions.toggleReaction(message, emoji)}
          onClose={onClose}
        />
      );
    case "menu":
      return (
        <Menu
          anchor={overlay.anchor}
          at={overlay.at}
          returnTo={overlay.row}
          align={message.mine ? "end" : "start"}
          label="Message"
          items={messageMenu(message, summary, actions, {
            openDetails: onDetails,
            openPicker: () => actions.openPicker(message, overlay.row ?? overlay.anchor),
            copied: () => toast("Copied"),
            link: seq === undefined ? undefined : linkTo(href, { room: message.room, message: seq }),
          })}
          onClose={onClose}
        />
      );
    case "delete":
      if (seq === undefined) return null;
      return (
        <ConfirmDialog
          title="Delete message?"
          text="The message will be deleted for everyone. You cannot undo this."
          action="Delete"
          onConfirm={() => deleteMessage(handle, seq)}
          onClose={onClose}
        />
      );
    case "pictures":
      return (
        <Lightbox
          message={message}
          first={overlay.attachment}
          onOpen={(attachment) => onOpenFile(message, attachment)}
          onClose={onClose}
        />
      );
    case "details":
      return <DetailsDialog room={room} message={message} onClose={onClose} />;
  }
}
