import type { Message } from "@tidings/client";
import { listNames } from "../logic/names.ts";
import { previewText } from "../logic/preview.ts";
import { IconButton } from "../ui/Button.tsx";
import { Icon } from "../ui/Icon.tsx";

/** The purpose of the next send: a reply to `message`, or an edit of `message`. */
export interface ComposerMode {
  readonly kind: "reply" | "edit";
  readonly message: Message;
}

interface ModeBarProps {
  readonly mode: ComposerMode;
  readonly name: string;
  readonly onCancel: () => void;
}

/** Shows above the input which message is replied to or edited. */
export function ModeBar({ mode, name, onCancel }: ModeBarProps) {
  const editing = mode.kind === "edit";
  return (
    <div className="composer-bar line">
      <Icon name={editing ? "edit" : "reply"} size={18} />
      <div className="composer-bar-text two-lines">
        <strong>{editing ? "Edit message" : `Reply to ${name}`}</strong>
        <span>{previewText(mode.message)}</span>
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

/** Shows above the input who will see the message. */
export function PrivateBar({ names, onCancel }: { names: readonly string[]; onCancel: () => void }) {
  return (
    <div className="composer-bar composer-private line">
      <Icon name="lock" size={18} />
      <div className="composer-bar-text two-lines">
        <strong>Private message</strong>
        <span>Only {listNames(names, 5)} will see it</span>
      </div>
      <IconButton icon="close" label="Send to everyone again" size={18} onClick={onCancel} />
    </div>
  );
}
