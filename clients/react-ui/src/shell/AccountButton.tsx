import { presence } from "@tidings/client/live";
import { useConnection, useMe, usePresence, useTidings } from "@tidings/react";
import { type ReactNode, useState } from "react";
import { connectionStatus, STATUS_LABELS } from "../logic/connection.js";
import { displayName } from "../logic/names.js";
import { useChatUi } from "../state/chatUi.js";
import { ChatAvatar } from "../ui/ChatAvatar.js";
import { Menu, type MenuItem } from "../ui/Menu.js";

/** The properties of the button. */
export interface AccountButtonProps {
  /** The name of the user; by default the name in the user's token. */
  readonly name?: string | undefined;
  /** More items for the menu, below those for the presence. */
  readonly items?: readonly (MenuItem | "line")[];
}

/** The button with the user's name and status, which opens the user's menu. */
export function AccountButton({ name, items = [] }: AccountButtonProps): ReactNode {
  const user = useChatUi().user ?? "";
  const me = useMe();
  const client = useTidings();
  const connection = useConnection();
  const ownPresence = usePresence(user === "" ? [] : [user]).get(user);
  const [menu, setMenu] = useState<HTMLElement>();
  const [status, setStatus] = useState<"online" | "away">("online");
  const set = (next: "online" | "away") => {
    setStatus(next);
    presence(client).set(next);
  };
  const isConnected = connection.state === "connected" && !connection.offline;
  const shownStatus = isConnected
    ? ownPresence?.status === "away" || status === "away"
      ? "away"
      : "online"
    : "offline";
  const isPolling = isConnected && connection.transport === "poll";
  const line = isPolling
    ? connectionStatus(connection, 0).text
    : isConnected
      ? STATUS_LABELS[shownStatus]
      : "Not connected";
  const shownName = name ?? displayName(user, me?.name);
  return (
    <>
      <button
        type="button"
        className="tidings-account tidings-hoverable tidings-line"
        aria-haspopup="menu"
        aria-expanded={menu !== undefined}
        title="Your menu"
        onClick={(event) => setMenu(event.currentTarget)}
      >
        <ChatAvatar id={user} name={shownName} status={shownStatus} />
        <span className="tidings-two-lines">
          <strong>{shownName}</strong>
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
            ...(items.length > 0 ? (["line"] as const) : []),
            ...items,
          ]}
        />
      )}
    </>
  );
}
