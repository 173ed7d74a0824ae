import { useTidings } from "@tidings/react";
import { useState } from "react";
import { errorWords } from "../logic/connection.ts";
import { useApp } from "../state/app.ts";
import { findOrMakeLobby } from "../state/lobby.ts";
import { Button } from "../ui/Button.tsx";
import { FormError } from "../ui/FormError.tsx";
import { Icon } from "../ui/Icon.tsx";

/** For who is in no room yet: the way to a room where others are. */
export function Welcome() {
  const client = useTidings();
  const { name, go } = useApp();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const join = async () => {
    setBusy(true);
    setError(undefined);
    try {
      go({ room: await findOrMakeLobby(client) });
    } catch (failure) {
      setError(errorWords(failure));
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="welcome">
      <img src="/icon.svg" alt="" width="64" height="64" />
      <h1>Hello, {name}</h1>
      <p>
        The Lobby is open to everybody. Say hello there, or begin a room of your own with the plus above your
        list.
      </p>
      <Button look="primary" icon="chat" busy={busy} onClick={join}>
        Join the Lobby
      </Button>
      <FormError text={error} />
    </main>
  );
}

/** Beside the list, while no room is open. */
export function NoRoomOpen() {
  return (
    <main className="welcome only-wide">
      <span className="welcome-sign">
        <Icon name="chat" size={32} />
      </span>
      <h1>Your conversations</h1>
      <p>Choose a room from the list to read and write.</p>
    </main>
  );
}
