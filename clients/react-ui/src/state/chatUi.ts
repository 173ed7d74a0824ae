import type { Files, Mutes } from "@tidings/client";
import { createContext, useContext } from "react";
import type { JumpTarget } from "../room/useJump.js";
import type { ChatSlots } from "../slots.js";
import type { ChatNavigation, ChatRoute } from "./route.js";
import type { SavedPosition } from "./savedPositions.js";
import type { UnreadMarks } from "./unreadMarks.js";

/** The values that all components share, besides the client. They stay the same when the user goes to another room. */
export interface ChatUi {
  /** The id of the signed-in user; undefined until the first connection when the app does not give it. */
  readonly user: string | undefined;
  /** Goes to a room, to a panel of it, or with an empty route to no room. */
  readonly go: ChatNavigation["go"];
  /** The address of a route; undefined when routes have no address. */
  readonly href: ChatNavigation["href"];
  /** Opens a room and jumps to a message in it. */
  readonly goToMessage: (room: string, seq: number) => void;
  readonly slots: ChatSlots;
  /** The files of the client; undefined when the app does not use files of the server. */
  readonly files: Files | undefined;
  /** The muted rooms; undefined when the app does not use push messages of the server. */
  readonly mutes: Mutes | undefined;
  /** The origins from which the pictures of users may be loaded, besides that of the page. */
  readonly pictureOrigins: readonly string[];
  /** The id of the user whom a typed name means. */
  readonly userIdOf: (name: string) => string;
  /** Signs in again after the server has refused the user. */
  readonly onSignIn: (() => void) | undefined;
  /** @internal */
  readonly unreadMarks: UnreadMarks;
  /** @internal The scroll positions by room. */
  readonly savedPositions: Map<string, SavedPosition>;
}

/** Where the user is, and the message to jump to. */
export interface ChatPlace {
  readonly route: ChatRoute;
  /** The message to jump to, and its room. */
  readonly target: { readonly room: string; readonly jump: JumpTarget } | undefined;
}

/** Provides the `ChatUi`. */
export const ChatUiContext = createContext<ChatUi | undefined>(undefined);

/** Provides the `ChatPlace`. Navigation changes it, so only components that use it render again. */
export const ChatPlaceContext = createContext<ChatPlace | undefined>(undefined);

/**
 * Returns the values of the nearest {@link ChatUiProvider}, for components of your own among those of this package.
 *
 * @throws Error when the component is not inside a provider.
 */
export function useChatUi(): ChatUi {
  const ui = useContext(ChatUiContext);
  if (ui === undefined) throw new Error("the components of a chat must be used inside a <ChatUiProvider>");
  return ui;
}

/** The place with the message to jump to. */
export function useChatPlace(): ChatPlace {
  const place = useContext(ChatPlaceContext);
  if (place === undefined) throw new Error("the components of a chat must be used inside a <ChatUiProvider>");
  return place;
}

/** Returns the open room and panel. The component renders again when the user goes elsewhere. */
export function useChatRoute(): ChatRoute {
  return useChatPlace().route;
}
