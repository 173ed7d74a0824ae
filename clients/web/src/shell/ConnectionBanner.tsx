import { useConnection, useTidings } from "@tidings/react";
import { useEffect, useState } from "react";
import { connectionStatus } from "../logic/connection.ts";
import { useApp } from "../state/app.ts";
import { useNow } from "../state/useNow.ts";
import { Icon } from "../ui/Icon.tsx";

/** How long a reconnect may take before the banner appears, in ms. */
const SHOW_DELAY_MS = 700;

/** A banner about a problem with the connection. It floats, so that nothing moves when it appears or disappears. */
export function ConnectionBanner() {
  const client = useTidings();
  const connection = useConnection();
  const { signOut } = useApp();
  const now = useNow(1000);
  const status = connectionStatus(connection, now);
  const hasProblem = status.tone !== "good";
  const [delaying, setDelaying] = useState(true);
  useEffect(() => {
    if (!hasProblem) return setDelaying(true);
    const timer = setTimeout(setDelaying, SHOW_DELAY_MS, false);
    return () => clearTimeout(timer);
  }, [hasProblem]);
  const shown = hasProblem && !(delaying && status.tone === "busy");
  const action =
    status.action &&
    {
      try: { label: "Try now", run: () => client.retryNow() },
      connect: { label: "Connect", run: () => void client.connect().catch(() => {}) },
      "sign-in": { label: "Sign in again", run: signOut },
    }[status.action];

  return (
    <div className="banner-place">
      {/* Screen readers announce the state, but not each second of the countdown. */}
      <span className="visually-hidden" role="status" aria-label="Connection">
        {shown ? status.text.replace(/ in \d+ s$/, "") : status.tone === "good" ? status.text : ""}
      </span>
      {shown && (
        <div
          className="banner line"
          data-testid="connection-banner"
          data-tone={status.tone}
          data-state={connection.state}
        >
          {status.tone === "busy" ? (
            <span className="spinner" />
          ) : (
            <Icon name={status.tone === "stopped" ? "warning" : "offline"} size={18} />
          )}
          <span aria-hidden="true">{status.text}</span>
          {action && (
            <button type="button" className="banner-action" onClick={action.run}>
              {action.label}
            </button>
          )}
        </div>
      )}
    </div>
  );
}
