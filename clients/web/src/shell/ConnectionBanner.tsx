import { useConnection, useTidings } from "@tidings/react";
import { useEffect, useState } from "react";
import { connectionWords } from "../logic/connection.ts";
import { useApp } from "../state/app.ts";
import { useNow } from "../state/useNow.ts";
import { Icon } from "../ui/Icon.tsx";

/** So short a break is not worth a word, in ms. */
const PATIENCE_MS = 700;

/** Says how the connection stands while it is not well. It floats: nothing moves when it comes or goes. */
export function ConnectionBanner() {
  const client = useTidings();
  const connection = useConnection();
  const { signOut } = useApp();
  const now = useNow(1000);
  const words = connectionWords(connection, now);
  const bad = words.tone !== "good";
  const [patient, setPatient] = useState(true);
  useEffect(() => {
    if (!bad) return setPatient(true);
    const timer = setTimeout(setPatient, PATIENCE_MS, false);
    return () => clearTimeout(timer);
  }, [bad]);
  const shown = bad && !(patient && words.tone === "busy");

  return (
    <div className="banner-place">
      {/* The seconds are not read out each time: only what has another sense. */}
      <span className="visually-hidden" role="status" aria-label="Connection">
        {shown ? words.text.replace(/ in \d+ s$/, "") : words.tone === "good" ? words.text : ""}
      </span>
      {shown && (
        <div
          className="banner"
          data-testid="connection-banner"
          data-tone={words.tone}
          data-state={connection.state}
        >
          {words.tone === "busy" ? (
            <span className="spinner" />
          ) : (
            <Icon name={words.tone === "stopped" ? "warning" : "offline"} size={18} />
          )}
          <span aria-hidden="true">{words.text}</span>
          {words.action === "try" && (
            <button type="button" className="banner-action" onClick={() => client.retryNow()}>
              Try now
            </button>
          )}
          {words.action === "connect" && (
            <button
              type="button"
              className="banner-action"
              onClick={() => void client.connect().catch(() => {})}
            >
              Connect
            </button>
          )}
          {words.action === "sign-in" && (
            <button type="button" className="banner-action" onClick={signOut}>
              Sign in again
            </button>
          )}
        </div>
      )}
    </div>
  );
}
