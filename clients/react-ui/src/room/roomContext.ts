import type { RoomSummary } from "@tidings/client";
import type { RoomResult } from "@tidings/react";
import { createContext, useContext } from "react";
import type { ComposerMode } from "./ComposerBar.js";
import type { JumpTarget } from "./useJump.js";

/** What the components of a room share, besides the actions on messages. */
export interface RoomContext {
  readonly room: string;
  readonly summary: RoomSummary | undefined;
  readonly phase: RoomResult["phase"];
  readonly error: RoomResult["error"];
  /** Why the user is no longer in the room, such as "Ada removed you from this room."; undefined if it is unknown. */
  readonly removal: string | undefined;
  /** The message that the input edits; undefined while it shows the draft. */
  readonly mode: ComposerMode | undefined;
  readonly endMode: () => void;
  /** Edits the user's last message. */
  readonly editLast: () => void;
  /** The message to jump to. */
  readonly jump: JumpTarget | undefined;
}

const Context = createContext<RoomContext | undefined>(undefined);

/** Provides the room to its components. */
export const RoomContextProvider = Context.Provider;

/** Returns the room that the component is in. */
export function useRoomContext(): RoomContext {
  const room = useContext(Context);
  if (room === undefined) throw new Error("this component must be used inside a <RoomView> or <RoomScope>");
  return room;
}
