import type { NewRoom } from "@tidings/client";
import { createRoom } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { useApp } from "../state/app.ts";
import { useAction } from "../ui/useAction.ts";

/** Creates a room, calls `onCreated`, and opens the room. `error` holds a failure or a mistake in the form. */
export function useCreateRoom(onCreated: () => void) {
  const client = useTidings();
  const { go } = useApp();
  const { busy, error, setError, run } = useAction();
  const create = (newRoom: NewRoom) =>
    run(async () => {
      const { room } = await createRoom(client, newRoom);
      onCreated();
      go({ room });
    });
  return { busy, error, setError, create };
}
