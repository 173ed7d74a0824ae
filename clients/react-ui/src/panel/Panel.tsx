import type { KeyboardEvent, ReactNode } from "react";
import { IconButton } from "../ui/Button.js";

interface PanelProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ReactNode;
}

/** A panel beside the room, or instead of it on phones. Escape closes it. */
export function Panel({ title, onClose, children }: PanelProps) {
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape" && !event.defaultPrevented) onClose();
  };
  return (
    <aside className="tidings-panel tidings-column" aria-label={title} onKeyDown={onKeyDown}>
      <header className="tidings-panel-header tidings-bar tidings-line">
        <IconButton icon="back" label="Back to the room" className="tidings-only-narrow" onClick={onClose} />
        <h2>{title}</h2>
        <IconButton
          icon="close"
          label={`Close ${title.toLowerCase()}`}
          className="tidings-only-wide"
          onClick={onClose}
        />
      </header>
      <div className="tidings-panel-scroll">{children}</div>
    </aside>
  );
}
