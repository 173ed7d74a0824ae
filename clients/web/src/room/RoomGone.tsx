import type { RoomState, RoomSummary, TidingsError } from "@tidings/client";
import { errorWords } from "../logic/connection.ts";
import { useApp } from "../state/app.ts";
import { Button, IconButton } from "../ui/Button.tsx";
import { Icon } from "../ui/Icon.tsx";

interface RoomGoneProps {
  readonly phase: RoomState["phase"];
  readonly error: TidingsError | undefined;
}

/** Instead of a room that is not one's own any more, or cannot be opened. */
export function RoomGone({ phase, error }: RoomGoneProps) {
  const { go } = useApp();
  const removed = phase === "removed" || error?.code === "not_found" || error?.code === "forbidden";
  return (
    <main className="room">
      <header className="room-header">
        <IconButton icon="back" label="Back to rooms" className="only-narrow" onClick={() => go({})} />
      </header>
      <div className="pane-notice">
        <Icon name={removed ? "exit" : "warning"} size={28} />
        <h1>{removed ? "You are not in this room" : "This room could not be opened"}</h1>
        <p>{removed ? "You left it, were removed, or it does not exist." : errorWords(error)}</p>
        <Button look="primary" onClick={() => go({})}>
          Back to your rooms
        </Button>
      </div>
    </main>
  );
}

/** Instead of the input, where one may only read. */
export function RoomNotice({ summary }: { summary: RoomSummary }) {
  return (
    <p className="room-notice">
      <Icon name={summary.archived ? "archive" : "lock"} size={18} />
      {summary.archived
        ? "This room is archived. It can be read, but not written to."
        : "You are a guest here: you can read, but not write."}
    </p>
  );
}
