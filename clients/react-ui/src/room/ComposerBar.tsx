import type { Message } from "@tidings/client";
import { MAX_MENTIONS } from "../logic/mentions.js";
import { listNames, plural, senderName } from "../logic/names.js";
import { isolate } from "../logic/plainText.js";
import { previewText } from "../logic/preview.js";
import { IconButton } from "../ui/Button.js";
import { Icon } from "../ui/Icon.js";

/** The message that the input edits instead of the draft. */
export interface ComposerMode {
  readonly message: Message;
}

interface ModeBarProps {
  readonly editing: boolean;
  /** The message that is edited or replied to; undefined until it is loaded. */
  readonly message: Message | undefined;
  readonly nameOf: (user: string) => string;
  readonly onCancel: () => void;
}

/** Shows above the input which message is replied to or edited. */
export function ModeBar({ editing, message, nameOf, onCancel }: ModeBarProps) {
  const sender = message?.sender;
  const name = message?.mine ? "yourself" : sender && (sender.name ? senderName(message) : nameOf(sender.id));
  return (
    <div className="tidings-composer-bar tidings-line">
      <Icon name={editing ? "edit" : "reply"} size={18} />
      <div className="tidings-composer-bar-text tidings-two-lines">
        <strong>{editing ? "Edit message" : `Reply${name ? ` to ${isolate(name)}` : ""}`}</strong>
        <span dir="auto">{message ? previewText(message) : "…"}</span>
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
    <div className="tidings-composer-bar tidings-composer-private tidings-line">
      <Icon name="lock" size={18} />
      <div className="tidings-composer-bar-text tidings-two-lines">
        <strong>Private message</strong>
        <span>Only {listNames(names, 5)} will see it</span>
      </div>
      <IconButton icon="close" label="Send to everyone again" size={18} onClick={onCancel} />
    </div>
  );
}

/** The number of characters that are left is shown when it is below this. */
const SHOW_BELOW_CHARS = 100;

interface LimitLineProps {
  readonly id: string;
  /** The number of characters that are left. */
  readonly left: number;
  readonly limit: number;
  /** Whether the user types a mention although the message already has the maximum number of mentions. */
  readonly mentionsFull: boolean;
}

/** Shows how many characters are left or too many, and that no more people can be mentioned. */
export function LimitLine({ id, left, limit, mentionsFull }: LimitLineProps) {
  const isTooLong = left < 0;
  const text = isTooLong
    ? `Too long by ${plural(-left, "character")}. A message has at most ${limit.toLocaleString()}.`
    : `${plural(left, "character")} left`;
  return (
    <p id={id} className="tidings-composer-limit" data-over={isTooLong || undefined}>
      <span role="status">{mentionsFull && `A message mentions at most ${MAX_MENTIONS} people. `}</span>
      {left < SHOW_BELOW_CHARS && text}
      {/* Screen readers announce the limit once, not each character. */}
      <span className="tidings-visually-hidden" role="status">
        {isTooLong ? "The message is too long" : ""}
      </span>
    </p>
  );
}
