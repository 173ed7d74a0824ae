import { useTidings } from "@tidings/react";
import { useEffect, useRef, useState } from "react";

/**
 * Tells why the user is no longer in a room: who removed the user, or that the user left. Undefined until the user is
 * removed while the room is open. `nameOf` is called at the removal, because the members are dropped after it.
 */
export function useRemoval(room: string, nameOf: (user: string) => string): string | undefined {
  const client = useTidings();
  const [reason, setReason] = useState<string>();
  const latestNameOf = useRef(nameOf);
  useEffect(() => {
    latestNameOf.current = nameOf;
  });
  useEffect(
    () =>
      // A frame and not an event, because the kit drops the event when `room:removed` comes first.
      client.on("frame", (frame) => {
        if (frame.type !== "member:removed" || frame.room !== room) return;
        if (frame.user !== client.me.get()?.id) return;
        setReason(
          frame.by === frame.user
            ? "You left this room."
            : `${latestNameOf.current(frame.by)} removed you from this room.`,
        );
      }),
    [client, room],
  );
  return reason;
}
