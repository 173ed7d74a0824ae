import type { Attachment, Message } from "@tidings/client";
import { createContext, useContext } from "react";
import type { Point } from "../ui/useContextMenu.js";
import type { Quotes } from "./quotes.js";

/** The actions on a message. The object stays the same while the room is shown, so that rows do not render again. */
export interface MessageActions {
  readonly reply: (message: Message) => void;
  readonly edit: (message: Message) => void;
  readonly askDelete: (message: Message) => void;
  /** Adds the user's reaction, or removes it. */
  readonly toggleReaction: (message: Message, emoji: string) => void;
  readonly openPicker: (message: Message, anchor: HTMLElement) => void;
  readonly openMenu: (message: Message, anchor: HTMLElement, at?: Point) => void;
  /** Opens the dialog that shows when the message was sent, and who has read it. */
  readonly openDetails: (message: Message) => void;
  /** Shows a picture large, and opens or downloads any other file. */
  readonly openFile: (message: Message, attachment: Attachment) => void;
  readonly jumpTo: (seq: number) => void;
  readonly retry: (message: Message) => void;
  readonly discard: (message: Message) => void;
  /** The messages that replies quote. */
  readonly quotes: Quotes;
  /** The name of a user, or a name made from the id when the room does not know the user. */
  readonly nameOf: (user: string) => string;
}

const ActionsContext = createContext<MessageActions | undefined>(undefined);

/** Provides the actions to the rows. */
export const ActionsProvider = ActionsContext.Provider;

/** Returns the actions of the room that is shown. */
export function useActions(): MessageActions {
  const actions = useContext(ActionsContext);
  if (actions === undefined)
    throw new Error("this component must be used inside a <RoomView> or <RoomScope>");
  return actions;
}
