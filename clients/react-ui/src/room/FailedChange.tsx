import type { PendingChange } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { errorText } from "../logic/connection.js";
import { Icon } from "../ui/Icon.js";
import { useRowTabIndex } from "./rowTabIndex.js";

/** The notice below a message whose change was refused after the page that made it was closed. */
export function FailedChange({ change }: { change: PendingChange }) {
  const { outbox } = useTidings();
  const tabIndex = useRowTabIndex();
  return (
    <fieldset className="tidings-row-failed tidings-line" aria-label="Change not saved">
      <Icon name="warning" size={16} />
      <span>Your change was not saved. {errorText(change.error)}</span>
      <button
        type="button"
        className="tidings-link-button"
        tabIndex={tabIndex}
        onClick={() => outbox.retry(change.clientId)}
      >
        Try again
      </button>
      <button
        type="button"
        className="tidings-link-button"
        tabIndex={tabIndex}
        onClick={() => outbox.discard(change.clientId)}
      >
        Discard
      </button>
    </fieldset>
  );
}
