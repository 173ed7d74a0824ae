import { useTidings } from "@tidings/react";
import { Button, EmptyState, type EmptyStateProps, FormError, useAction, useChatUi } from "@tidings/react-ui";
import { useAccount } from "../state/account.ts";
import { joinOrCreateLobby } from "../state/lobby.ts";

/** The page beside the list while no room is open. A user without rooms gets a button to join the Lobby. */
export function Welcome({ hasRooms }: EmptyStateProps) {
  return hasRooms ? <EmptyState hasRooms /> : <JoinLobby />;
}

function JoinLobby() {
  const client = useTidings();
  const { go } = useChatUi();
  const { name } = useAccount();
  const { busy, error, run } = useAction();
  const join = () => run(async () => go({ room: await joinOrCreateLobby(client) }));
  return (
    <main className="tidings-welcome tidings-centred tidings-column">
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
