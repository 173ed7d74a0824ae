import type { Message } from "@tidings/client";
import { memo, useState } from "react";
import { sendErrorText } from "../logic/connection.ts";
import { senderName } from "../logic/names.ts";
import { previewText } from "../logic/preview.ts";
import { TICK_LABELS, type Tick } from "../logic/ticks.ts";
import { timeOfDay } from "../logic/time.ts";
import { Avatar } from "../ui/Avatar.tsx";
import { IconButton } from "../ui/Button.tsx";
import { Icon, type IconName } from "../ui/Icon.tsx";
import { useActions } from "./actions.ts";
import { Bubble } from "./Bubble.tsx";
import { Reactions } from "./Reactions.tsx";

interface MessageRowProps {
  readonly message: Message;
  readonly first: boolean;
  readonly last: boolean;
  readonly tick: Tick;
  /** Whether names and avatars of others are shown. A direct room does not show them. */
  readonly group: boolean;
  readonly writable: boolean;
  /** Whether the page has just jumped to this message. */
  readonly flash: boolean;
  readonly observe: ((element: Element | null) => void) | undefined;
}

/** The row of one message: avatar, bubble, reactions, tools. */
export const MessageRow = memo(function MessageRow(props: MessageRowProps) {
  const { message, first, last, tick, group, writable, flash, observe } = props;
  const { mine, status } = message;
  const [toolsVisible, setToolsVisible] = useState(false);
  const name = mine ? "You" : senderName(message);
  const text = `${name}, ${timeOfDay(message.at)}: ${previewText(message)}`;
  const state = [
    message.visibleTo ? "private" : "",
    message.editedAt && !message.deleted ? "edited" : "",
    TICK_LABELS[tick],
  ].filter(Boolean);
  return (
    <article
      ref={observe}
      className="row"
      data-key={message.key}
      data-testid="message-row"
      data-seq={message.seq}
      data-status={status}
      data-client-id={message.clientId}
      data-mine={mine || undefined}
      data-first={first || undefined}
      data-last={last || undefined}
      data-flash={flash || undefined}
      data-group={group || undefined}
      data-reacted={message.reactions.length > 0 || undefined}
      tabIndex={-1}
      aria-label={[text, ...state].join(". ")}
      onPointerEnter={(event) => event.pointerType === "mouse" && setToolsVisible(true)}
      onPointerLeave={(event) => event.pointerType === "mouse" && setToolsVisible(false)}
      onFocus={() => setToolsVisible(true)}
      onBlur={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget)) setToolsVisible(false);
      }}
    >
      {group && !mine && (
        <div className="row-avatar">{last && <Avatar id={message.sender.id} name={name} size="small" />}</div>
      )}
      <div className="row-body column">
        <div className="row-line">
          <Bubble message={message} tick={tick} showName={group && !mine && first} />
          {toolsVisible && status === "sent" && !message.deleted && (
            <Toolbar message={message} writable={writable} />
          )}
        </div>
        {message.reactions.length > 0 && !message.deleted && (
          <Reactions message={message} enabled={writable} />
        )}
        {status === "failed" && <Failed message={message} />}
      </div>
    </article>
  );
});

function Toolbar({ message, writable }: { message: Message; writable: boolean }) {
  const actions = useActions();
  const tool = (icon: IconName, label: string, run: (message: Message, button: HTMLElement) => void) => (
    <IconButton
      icon={icon}
      label={label}
      className="small"
      size={18}
      tabIndex={-1}
      aria-haspopup={icon === "more" ? "menu" : undefined}
      onClick={(event) => run(message, event.currentTarget)}
    />
  );
  return (
    <div className="row-tools">
      {writable && tool("smile", "React", actions.openPicker)}
      {writable && tool("reply", "Reply", actions.reply)}
      {tool("more", "More actions", actions.openMenu)}
    </div>
  );
}

function Failed({ message }: { message: Message }) {
  const { retry, discard } = useActions();
  return (
    <fieldset className="row-failed line" aria-label="Message not sent">
      <Icon name="warning" size={16} />
      <span>{sendErrorText(message.error)}</span>
      <button type="button" className="link-button" onClick={() => retry(message)}>
        Try again
      </button>
      <button type="button" className="link-button" onClick={() => discard(message)}>
        Discard
      </button>
    </fieldset>
  );
}
