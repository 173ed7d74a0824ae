import type { ReactNode } from "react";
import { Composer } from "./Composer.js";
import { MessageList } from "./MessageList.js";
import { RoomHeader } from "./RoomHeader.js";
import { type RoomProps, RoomScope } from "./RoomScope.js";
import { RoomUnavailable } from "./RoomUnavailable.js";
import { useRoomContext } from "./roomContext.js";
import { TypingLine } from "./TypingLine.js";

/** A room: its header, its messages and the input. */
export function RoomView({ room }: RoomProps): ReactNode {
  return (
    <RoomScope room={room}>
      <RoomPage />
    </RoomScope>
  );
}

function RoomPage() {
  const { phase, error, removal } = useRoomContext();
  if (phase === "removed" || phase === "failed")
    return <RoomUnavailable phase={phase} error={error} reason={removal} />;
  return (
    <main className="tidings-room tidings-column">
      <RoomHeader />
      <MessageList />
      <TypingLine />
      <Composer />
    </main>
  );
}
