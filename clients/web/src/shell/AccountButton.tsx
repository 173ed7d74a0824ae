import { presence } from "@tidings/client/live";
import { useConnection, usePresence, useTidings } from "@tidings/react";
import { useState } from "react";
import { connectionStatus, STATUS_LABELS } from "../logic/connection.ts";
import { useApp } from "../state/app.ts";
import { useTheme } from "../state/theme.ts";
import { Avatar } from "../ui/Avatar.tsx";
import { Menu } from "../ui/Menu.tsx";

/** The button with the user's name and status, which opens the user's menu. */
export function AccountButton() {
  const { user, name, signOut } = useApp();
  const client = useTidings();
  const connection = useConnection();
  const own = usePresence(user);
  const [theme, setTheme] = useTheme();
  const [menu, setMenu] = useState<HTMLElement>();
  const [status, setStatus] = useState<"online" | "away">("online");
  const set = (next: "online" | "away") => {
    setStatus(next);
    presence(client).set(next);
  };
  const connected = connection.state === "connected" && !connection.offline;
  const shown = connected ? (own?.status === "away" || status === "away" ? "away" : "online") : "offline";
  const polling = connected && connection.transport === "poll";
  const line = polling
    ? connectionStatus(connection, 0).text
    : connected
      ? STATUS_LABELS[shown]
      : "Not connected";
  return (
    <>
      <button
        type="button"
        className="account hoverable line"
        aria-haspopup="menu"
        aria-expanded={menu !== undefined}
        title="Your menu"
        onClick={(event) => setMenu(event.currentTarget)}
      >
        <Avatar id={user} name={name} status={shown} />
        <span className="two-lines">
          <strong>{name}</strong>
          <span>{line}</span>
        </span>
      </button>
      {menu && (
        <Menu
          anchor={menu}
          label="You"
          onClose={() => setMenu(undefined)}
          items={[
            { label: "Online", icon: "chat", checked: status === "online", onSelect: () => set("online") },
            { label: "Away", icon: "moonAway", checked: status === "away", onSelect: () => set("away") },
            "line",
            {
              label: "System theme",
              icon: "screen",
              checked: theme === "system",
              onSelect: () => setTheme("system"),
            },
            { label: "Light", icon: "sun", checked: theme === "light", onSelect: () => setTheme("light") },
            { label: "Dark", icon: "moon", checked: theme === "dark", onSelect: () => setTheme("dark") },
            "line",
            { label: "Sign out", icon: "exit", onSelect: signOut },
          ]}
        />
      )}
    </>
  );
}
