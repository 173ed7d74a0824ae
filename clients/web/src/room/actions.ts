import type { Message } from "@tidings/client";
import { createContext, useContext } from "react";
import type { Quotes } from "./quotes.ts";

/** What can be done with a message. The object stays the same while the room is shown, so that rows need not be drawn anew. */
export interface MessageActions {
  readonly reply: (message: Message) => void;
  readonly edit: (message: Message) => void;
  readonly askDelete: (message: Message) => void;
  /** Adds one's own reaction, or takes it back. */
  readonly toggleReaction: (message: Message, emoji: string) => void;
  readonly openPicker: (message: Message, anchor: HTMLElement) => void;
  readonly openMenu: (message: Message, anchor: HTMLElement) => void;
  readonly jumpTo: (seq: number) => void;
  readonly retry: (message: Message) => void;
  readonly discard: (message: Message) => void;
  /** The messages that others answer. */
  readonly quotes: Quotes;
  /** The name of a user, as far as the room knows it. */
  readonly nameOf: (user: string) => string;
}

const ActionsContext = createContext<MessageActions | undefined>(undefined);

/** Hands the actions down to the rows. */
export const ActionsProvider = ActionsContext.Provider;

/** The actions of the room that is shown. */
export function useActions(): MessageActions {
  const actions = useContext(ActionsContext);
  if (actions === undefined) throw new Error("Rows are drawn inside of a room.");
  return actions;
}
