import { useConnection, useTidings } from "@tidings/react";
import { type ReactNode, useEffect, useState } from "react";
import { connectionStatus } from "../logic/connection.js";
import { useChatUi } from "../state/chatUi.js";
import { useNow } from "../state/useNow.js";
import { Icon } from "../ui/Icon.js";

/** How long a reconnect may take before the banner appears, in ms. */
const SHOW_DELAY_MS = 700;

/** A banner about a problem with the connection. It floats, so that nothing moves when it appears or disappears. */
export function ConnectionBanner(): ReactNode {
  const client = useTidings();
  const connection = useConnection();
  const { onSignIn } = useChatUi();
  const now = useNow(1000);
  const status = connectionStatus(connection, now);
  const hasProblem = status.tone !== "good";
  const [isDelayed, setIsDelayed] = useState(true);
  useEffect(() => {
    if (!hasProblem) return setIsDelayed(true);
    const timer = setTimeout(setIsDelayed, SHOW_DELAY_MS, false);
    return () => clearTimeout(timer);
  }, [hasProblem]);
  const isShown = hasProblem && !(isDelayed && status.tone === "busy");
  const action =
    status.action &&
    {
      try: { label: "Try now", run: () => client.retryNow() },
      connect: { label: "Connect", run: () => void client.connect().catch(() => {}) },
      "sign-in": onSignIn && { label: "Sign in again", run: onSignIn },
    }[status.action];

  return (
    <div className="tidings-banner-place">
      {/* Screen readers announce the state, but not each second of the countdown. */}
      <span className="tidings-visually-hidden" role="status" aria-label="Connection">
        {isShown ? status.text.replace(/ in \d+ s$/, "") : status.tone === "good" ? status.text : ""}
      </span>
      {isShown && (
        <div
          className="tidings-banner tidings-line"
          data-testid="connection-banner"
          data-tone={status.tone}
          data-state={connection.state}
        >
          {status.tone === "busy" ? (
            <span className="tidings-spinner" />
          ) : (
            <Icon name={status.tone === "stopped" ? "warning" : "offline"} size={18} />
          )}
          <span aria-hidden="true">{status.text}</span>
          {action && (
            <button type="button" className="tidings-banner-action" onClick={action.run}>
              {action.label}
            </button>
          )}
        </div>
      )}
    </div>
  );
}
