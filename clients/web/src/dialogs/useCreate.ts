import type { NewRoom } from "@tidings/client";
import { createRoom } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { useState } from "react";
import { errorWords } from "../logic/connection.ts";
import { useApp } from "../state/app.ts";

/** Makes a room and goes there; `done` is called before. What goes wrong, or is wrong with what was typed, is `error`. */
export function useCreate(done: () => void) {
  const client = useTidings();
  const { go } = useApp();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const create = async (room: NewRoom) => {
    setBusy(true);
    try {
      const made = await createRoom(client, room);
      done();
      go({ room: made.room });
    } catch (failure) {
      setError(errorWords(failure));
      setBusy(false);
    }
  };
  return { busy, error, setError, create };
}
