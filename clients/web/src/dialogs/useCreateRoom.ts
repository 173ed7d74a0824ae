import type { NewRoom } from "@tidings/client";
import { createRoom } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { useState } from "react";
import { errorText } from "../logic/connection.ts";
import { useApp } from "../state/app.ts";

/** Creates a room, calls `onCreated`, and opens the room. `error` holds a failure or a mistake in the form. */
export function useCreateRoom(onCreated: () => void) {
  const client = useTidings();
  const { go } = useApp();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const create = async (room: NewRoom) => {
    setBusy(true);
    try {
      const created = await createRoom(client, room);
      onCreated();
      go({ room: created.room });
    } catch (failure) {
      setError(errorText(failure));
      setBusy(false);
    }
  };
  return { busy, error, setError, create };
}
