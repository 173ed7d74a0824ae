import type { RoomSummary } from "@tidings/client";
import type { RoomResult } from "@tidings/react";
import { errorText } from "../logic/connection.ts";
import { useApp } from "../state/app.ts";
import { Button, IconButton } from "../ui/Button.tsx";
import { Icon } from "../ui/Icon.tsx";

/** The page in place of a room that the user is not a member of, or that could not be opened. */
export function RoomUnavailable({ phase, error }: Pick<RoomResult, "phase" | "error">) {
  const { go } = useApp();
  const removed = phase === "removed" || error?.code === "not_found" || error?.code === "forbidden";
  return (
    <main className="room column">
      <header className="room-header bar line">
        <IconButton icon="back" label="Back to rooms" className="only-narrow" onClick={() => go({})} />
      </header>
      <div className="pane-notice centred column">
        <Icon name={removed ? "exit" : "warning"} size={28} />
        <h1>{removed ? "You are not in this room" : "This room could not be opened"}</h1>
        <p>{removed ? "You left it, you were removed, or it does not exist." : errorText(error)}</p>
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
    <p className="room-notice line">
      <Icon name={summary.archived ? "archive" : "lock"} size={18} />
      {summary.archived
        ? "This room is archived. You can read it, but nobody can write in it."
        : "You are a guest here: you can read, but not write."}
    </p>
  );
}
