import type { RoomSummary } from "@tidings/client";
import type { RoomResult } from "@tidings/react";
import { errorText } from "../logic/connection.js";
import { useChatUi } from "../state/chatUi.js";
import { Button, IconButton } from "../ui/Button.js";
import { Icon } from "../ui/Icon.js";

interface RoomUnavailableProps extends Pick<RoomResult, "phase" | "error"> {
  /** Why the user is not in the room, if the user was removed or left while the room was open. */
  readonly reason: string | undefined;
}

/** The page in place of a room that the user is not a member of, or that could not be opened. */
export function RoomUnavailable({ phase, error, reason }: RoomUnavailableProps) {
  const { go } = useChatUi();
  const isNotMember = phase === "removed" || error?.code === "not_found" || error?.code === "forbidden";
  return (
    <main className="tidings-room tidings-column">
      <header className="tidings-room-header tidings-bar tidings-line">
        <IconButton
          icon="back"
          label="Back to rooms"
          className="tidings-only-narrow"
          onClick={() => go({})}
        />
      </header>
      <div className="tidings-pane-notice tidings-centred tidings-column">
        <Icon name={isNotMember ? "exit" : "warning"} size={28} />
        <h1>{isNotMember ? "You are not in this room" : "This room could not be opened"}</h1>
        <p dir="auto">
          {isNotMember
            ? (reason ?? "You left it, you were removed, or it does not exist.")
            : errorText(error)}
        </p>
        <Button variant="primary" onClick={() => go({})}>
          Back to your rooms
        </Button>
      </div>
    </main>
  );
}

/** The notice in place of the input when the user may only read. */
export function RoomNotice({ summary }: { summary: RoomSummary }) {
  return (
    <p className="tidings-room-notice tidings-line">
      <Icon name={summary.archived ? "archive" : "lock"} size={18} />
      {summary.archived
        ? "This room is archived. You can read it, but nobody can write in it."
        : "You are a guest here: you can read, but not write."}
    </p>
  );
}
