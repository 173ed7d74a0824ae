import type { Message, RoomSummary } from "@tidings/client";
import type { ComponentType } from "react";
import type { AvatarProps } from "./ui/Avatar.js";

/** The properties of a component that shows the text of a message. */
export interface MessageTextProps {
  readonly message: Message;
}

/** The properties of a component that shows the content of an item of the list of rooms. */
export interface RoomItemSlotProps {
  readonly room: RoomSummary;
  /** Whether the room is open. */
  readonly current: boolean;
}

/** The properties of a component with buttons for the header of a room. */
export interface HeaderActionsProps {
  readonly room: string;
  /** Undefined until it is loaded. */
  readonly summary: RoomSummary | undefined;
}

/** The properties of a component with buttons for the input of messages. */
export interface ComposerButtonsProps {
  readonly room: string;
  /** Inserts a text where the cursor is. */
  readonly insert: (text: string) => void;
}

/** The properties of a component that is shown while no room is open. */
export interface EmptyStateProps {
  /** Whether the user has rooms to choose from. True until the list of rooms is loaded. */
  readonly hasRooms: boolean;
}

/**
 * Components of the app in place of parts of the chat. Define them outside of a component, because React discards the
 * state of a component that is another function in the next render.
 */
export interface ChatSlots {
  /** The avatar of users and rooms; by default `Avatar`. */
  readonly Avatar?: ComponentType<AvatarProps> | undefined;
  /** The text of a message that is not deleted; by default `MessageText`. */
  readonly MessageText?: ComponentType<MessageTextProps> | undefined;
  /** The content of the link to a room; by default avatar, name, last message and unread count. */
  readonly RoomItem?: ComponentType<RoomItemSlotProps> | undefined;
  /** Buttons in the header of a room, before search and members; by default none. */
  readonly HeaderActions?: ComponentType<HeaderActionsProps> | undefined;
  /** Buttons before the input of messages, after the emoji button; by default none. */
  readonly ComposerButtons?: ComponentType<ComposerButtonsProps> | undefined;
  /** The main part of the page while no room is open; by default `EmptyState`. */
  readonly EmptyState?: ComponentType<EmptyStateProps> | undefined;
  /** The part above the list of rooms, before the button for new conversations; by default `AccountButton`. */
  readonly SidebarHeader?: ComponentType | undefined;
}
