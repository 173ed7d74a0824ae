import type { RoomPosition } from "@tidings/client";
import { TidingsProvider } from "@tidings/react";
import { notificationTaps } from "@tidings/react-native";
import * as Notifications from "expo-notifications";
import { useEffect, useState } from "react";
import { Button, SafeAreaView, Text } from "react-native";
import { resumeSession, type Session } from "./chat";
import { Login } from "./Login";
import { Room } from "./Room";
import { Rooms } from "./Rooms";

export default function App() {
  /** Null until the last session is read from the storage. */
  const [session, setSession] = useState<Session | undefined | null>(null);

  useEffect(() => {
    resumeSession().then(setSession, () => setSession(undefined));
  }, []);

  if (session === null) return <Text>Starting</Text>;
  if (session === undefined) return <Login onSession={setSession} />;
  const signOut = () => {
    setSession(undefined);
    session.signOut().catch(() => {});
  };
  return (
    <TidingsProvider client={session.client}>
      <SafeAreaView style={{ flex: 1 }}>
        <Chat />
        <Button title={`Sign out ${session.name}`} onPress={signOut} />
      </SafeAreaView>
    </TidingsProvider>
  );
}

/** The rooms, or the room that the user has chosen or has opened by a tap on a notification. */
function Chat() {
  const [open, setOpen] = useState<{ room: string; at: RoomPosition }>();

  useEffect(() => notificationTaps(Notifications, (room, at) => setOpen({ room, at })), []);

  if (open === undefined) return <Rooms onOpen={(room) => setOpen({ room, at: "unread" })} />;
  // The key makes a new list, which starts at the position of the tap.
  return (
    <Room key={`${open.room} ${open.at}`} id={open.room} at={open.at} onBack={() => setOpen(undefined)} />
  );
}
