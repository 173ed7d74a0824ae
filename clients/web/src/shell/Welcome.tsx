import { useTidings } from "@tidings/react";
import { useApp } from "../state/app.ts";
import { joinOrCreateLobby } from "../state/lobby.ts";
import { Button } from "../ui/Button.tsx";
import { FormError } from "../ui/FormError.tsx";
import { Icon } from "../ui/Icon.tsx";
import { useAction } from "../ui/useAction.ts";

/** The welcome page for a user without rooms, with a button to join the Lobby. */
export function Welcome() {
  const client = useTidings();
  const { name, go } = useApp();
  const { busy, error, run } = useAction();
  const join = () => run(async () => go({ room: await joinOrCreateLobby(client) }));
  return (
    <main className="welcome centred column">
      <img src="/icon.svg" alt="" width="64" height="64" />
      <h1>Hello, {name}</h1>
      <p>
        The Lobby is open to everyone. Say hello there, or use the plus button above the list to create your
        own room.
      </p>
      <Button variant="primary" icon="chat" busy={busy} onClick={join}>
        Join the Lobby
      </Button>
      <FormError text={error} />
    </main>
  );
}

/** The text beside the list while no room is open. */
export function NoRoomOpen() {
  return (
    <main className="welcome centred column only-wide">
      <span className="welcome-sign">
        <Icon name="chat" size={32} />
      </span>
      <h1>Your conversations</h1>
      <p>Choose a room from the list to start chatting.</p>
    </main>
  );
}
