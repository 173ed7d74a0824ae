import type { ReactNode } from "react";
import type { EmptyStateProps } from "../slots.js";
import { Icon } from "../ui/Icon.js";

/** The part beside the list of rooms while no room is open. On a narrow screen the list has its place. */
export function EmptyState({ hasRooms }: EmptyStateProps): ReactNode {
  return (
    <main className="tidings-welcome tidings-centred tidings-column tidings-only-wide">
      <span className="tidings-welcome-sign">
        <Icon name="chat" size={32} />
      </span>
      <h1>Your conversations</h1>
      <p>
        {hasRooms
          ? "Choose a room from the list to start chatting."
          : "Message a person or create a room with the plus button above the list."}
      </p>
    </main>
  );
}
