import type { Message } from "@tidings/client";
import { listNames } from "../logic/names.ts";
import { oneLine } from "../logic/preview.ts";
import { IconButton } from "../ui/Button.tsx";
import { Icon } from "../ui/Icon.tsx";

/** What the next send is: an answer to a message, or the new words of one. */
export interface ComposerMode {
  readonly kind: "reply" | "edit";
  readonly message: Message;
}

interface ModeBarProps {
  readonly mode: ComposerMode;
  readonly name: string;
  readonly onCancel: () => void;
}

/** Tells above the input what is answered or edited. */
export function ModeBar({ mode, name, onCancel }: ModeBarProps) {
  const editing = mode.kind === "edit";
  return (
    <div className="composer-bar">
      <Icon name={editing ? "edit" : "reply"} size={18} />
      <div className="composer-bar-text">
        <strong>{editing ? "Edit message" : `Reply to ${name}`}</strong>
        <span>{oneLine(mode.message)}</span>
      </div>
      <IconButton
        icon="close"
        label={editing ? "Cancel editing" : "Cancel reply"}
        size={18}
        onClick={onCancel}
      />
    </div>
  );
}

/** Tells above the input that not all will see the message. */
export function PrivateBar({ names, onCancel }: { names: readonly string[]; onCancel: () => void }) {
  return (
    <div className="composer-bar composer-private">
      <Icon name="lock" size={18} />
      <div className="composer-bar-text">
        <strong>Private message</strong>
        <span>Only {listNames(names, 5)} will see it</span>
      </div>
      <IconButton icon="close" label="Send to all again" size={18} onClick={onCancel} />
    </div>
  );
}
