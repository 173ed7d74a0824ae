import type { NewRoom } from "@tidings/client";
import { createRoom } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { useChatUi } from "../state/chatUi.js";
import { useAction } from "../ui/useAction.js";

/**
 * Creates the room that `prepare` returns, calls `onCreated`, and opens the room. Creates none if `prepare` returns
 * undefined. `error` holds a failure or a mistake in the form.
 */
export function useCreateRoom(onCreated: () => void) {
  const client = useTidings();
  const { go } = useChatUi();
  const { busy, error, setError, run } = useAction();
  const create = (prepare: () => Promise<NewRoom | undefined>) =>
    run(async () => {
      const newRoom = await prepare();
      if (newRoom === undefined) return;
      const { id: room } = await createRoom(client, newRoom);
      onCreated();
      go({ room });
    });
  return { busy, error, setError, create };
}
