import { useOutbox } from "@tidings/react";
import { AccountButton, Button, Dialog, NotificationsDialog } from "@tidings/react-ui";
import { useState } from "react";
import { useAccount } from "../state/account.ts";
import { useSound } from "../state/sound.ts";
import { useTheme } from "../state/theme.ts";

/** The button with the user's name, whose menu also has the themes, the notifications and the sign-out. */
export function Account() {
  const { name, signOut } = useAccount();
  const [theme, setTheme] = useTheme();
  const [sound, setSound] = useSound();
  const unsent = useOutbox().items.length;
  const [showsNotifications, setShowsNotifications] = useState(false);
  const [asksToSignOut, setAsksToSignOut] = useState(false);
  return (
    <>
      <AccountButton
        name={name}
        items={[
          {
            label: "System theme",
            icon: "screen",
            checked: theme === "system",
            onSelect: () => setTheme("system"),
          },
          { label: "Light", icon: "sun", checked: theme === "light", onSelect: () => setTheme("light") },
          { label: "Dark", icon: "moon", checked: theme === "dark", onSelect: () => setTheme("dark") },
          "line",
          { label: "Notifications…", icon: "bell", onSelect: () => setShowsNotifications(true) },
          {
            label: sound ? "Turn off the sound" : "Turn on the sound",
            icon: sound ? "bell" : "bellOff",
            onSelect: () => setSound(!sound),
          },
          "line",
          {
            label: "Sign out",
            icon: "exit",
            onSelect: () => (unsent > 0 ? setAsksToSignOut(true) : signOut()),
          },
        ]}
      />
      {asksToSignOut && (
        <Dialog
          title="Sign out?"
          onClose={() => setAsksToSignOut(false)}
          confirm={
            <Button variant="danger" onClick={signOut}>
              Sign out
            </Button>
          }
          focusCancel
        >
          <p>{`Messages that are not sent yet: ${unsent}. Signing out deletes them.`}</p>
        </Dialog>
      )}
      {showsNotifications && <NotificationsDialog onClose={() => setShowsNotifications(false)} />}
    </>
  );
}
