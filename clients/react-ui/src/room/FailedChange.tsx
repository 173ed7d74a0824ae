import type { PendingChange } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { errorText } from "../logic/connection.js";
import { Icon } from "../ui/Icon.js";
import { useRowTabIndex } from "./rowTabIndex.js";

interface FailedRowProps {
  readonly label: string;
  readonly text: string;
  readonly onRetry: () => void;
  readonly onDiscard: () => void;
}

/** The notice below a message that was refused, or whose change was refused. */
export function FailedRow({ label, text, onRetry, onDiscard }: FailedRowProps) {
  const tabIndex = useRowTabIndex();
  const button = (action: string, onClick: () => void) => (
    <button type="button" className="tidings-link-button" tabIndex={tabIndex} onClick={onClick}>
      {action}
    </button>
  );
  return (
    <fieldset className="tidings-row-failed tidings-line" aria-label={label}>
      <Icon name="warning" size={16} />
      <span>{text}</span>
      {button("Try again", onRetry)}
      {button("Discard", onDiscard)}
    </fieldset>
  );
}

/** The notice below a message whose change was refused after the page that made it was closed. */
export function FailedChange({ change }: { change: PendingChange }) {
  const { outbox } = useTidings();
  return (
    <FailedRow
      label="Change not saved"
      text={`Your change was not saved. ${errorText(change.error)}`}
      onRetry={() => outbox.retry(change.clientId)}
      onDiscard={() => outbox.discard(change.clientId)}
    />
  );
}
