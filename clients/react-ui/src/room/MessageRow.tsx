import type { Message } from "@tidings/client";
import { memo, useState } from "react";
import { sendErrorText } from "../logic/connection.js";
import { isMentioned } from "../logic/mentions.js";
import { plural, senderName } from "../logic/names.js";
import { originalTime } from "../logic/originalTime.js";
import { previewText } from "../logic/preview.js";
import { TICK_LABELS, type Tick } from "../logic/ticks.js";
import { timeOfDay } from "../logic/time.js";
import { useChatUi } from "../state/chatUi.js";
import { useZone } from "../state/useNow.js";
import { IconButton } from "../ui/Button.js";
import { ChatAvatar } from "../ui/ChatAvatar.js";
import type { IconName } from "../ui/Icon.js";
import { useContextMenu } from "../ui/useContextMenu.js";
import { useActions } from "./actions.js";
import { Bubble } from "./Bubble.js";
import { FailedChange, FailedRow } from "./FailedChange.js";
import { Reactions } from "./Reactions.js";
import { RowTabIndexProvider, useRowTabIndex } from "./rowTabIndex.js";

interface MessageRowProps {
  readonly message: Message;
  readonly first: boolean;
  readonly last: boolean;
  readonly tick: Tick;
  /** The line about the members who have read the message, such as "Seen by 2 of 4". */
  readonly seen: string | undefined;
  /** Whether names and avatars of others are shown. A direct room does not show them. */
  readonly group: boolean;
  readonly writable: boolean;
  /** Whether the page has just jumped to this message. */
  readonly flash: boolean;
  readonly observe: ((element: Element | null) => void) | undefined;
}

/** The row of one message: avatar, bubble, reactions, tools. */
export const MessageRow = memo(function MessageRow(props: MessageRowProps) {
  const { message, first, last, tick, seen, group, writable, flash, observe } = props;
  const { mine, status } = message;
  const { user } = useChatUi();
  const [hovered, setHovered] = useState(false);
  const [focused, setFocused] = useState(false);
  useZone();
  const { openMenu, openDetails } = useActions();
  const menu = useContextMenu((row, at) => openMenu(message, row, at));
  const name = mine ? "You" : senderName(message);
  const text = `${name}, ${timeOfDay(originalTime(message))}: ${previewText(message)}`;
  const state = [
    isMentioned(message, user) ? "mentions you" : "",
    message.visibleTo ? "private" : "",
    message.content !== "" && message.attachments.length > 0
      ? plural(message.attachments.length, "file")
      : "",
    message.editedAt && !message.deleted ? "edited" : "",
    message.pendingChange?.status === "sending" ? "not saved yet" : "",
    TICK_LABELS[tick],
  ].filter(Boolean);
  return (
    <article
      ref={observe}
      className="tidings-row"
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
      tabIndex={focused ? 0 : -1}
      aria-label={[text, ...state].join(". ")}
      {...menu}
      onPointerEnter={(event) => event.pointerType === "mouse" && setHovered(true)}
      onPointerLeave={(event) => event.pointerType === "mouse" && setHovered(false)}
      onFocus={() => setFocused(true)}
      onBlur={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget)) setFocused(false);
      }}
    >
      <RowTabIndexProvider value={focused ? 0 : -1}>
        {group && !mine && (
          <div className="tidings-row-avatar">
            {last && (
              <ChatAvatar id={message.sender.id} name={name} size="small" picture={message.sender.picture} />
            )}
          </div>
        )}
        <div className="tidings-row-body tidings-column">
          <div className="tidings-row-line">
            <Bubble message={message} tick={tick} showName={group && !mine && first} />
            {(hovered || focused) && status === "sent" && !message.deleted && (
              <Toolbar message={message} writable={writable} />
            )}
          </div>
          {message.reactions.length > 0 && !message.deleted && (
            <Reactions message={message} enabled={writable} />
          )}
          {seen && (
            <button
              type="button"
              className="tidings-seen tidings-link-button"
              tabIndex={focused ? 0 : -1}
              aria-haspopup="dialog"
              onClick={() => openDetails(message)}
            >
              {seen}
            </button>
          )}
          {status === "failed" && <FailedNotice message={message} />}
          {message.pendingChange?.status === "failed" && <FailedChange change={message.pendingChange} />}
        </div>
      </RowTabIndexProvider>
    </article>
  );
});

function Toolbar({ message, writable }: { message: Message; writable: boolean }) {
  const actions = useActions();
  const tabIndex = useRowTabIndex();
  const renderTool = (
    icon: IconName,
    label: string,
    run: (message: Message, button: HTMLElement) => void,
  ) => (
    <IconButton
      icon={icon}
      label={label}
      className="tidings-small"
      size={18}
      tabIndex={tabIndex}
      aria-haspopup={icon === "more" ? "menu" : undefined}
      onClick={(event) => run(message, event.currentTarget)}
    />
  );
  return (
    <div className="tidings-row-tools">
      {writable && renderTool("smile", "React", actions.openPicker)}
      {writable && renderTool("reply", "Reply", actions.reply)}
      {renderTool("more", "More actions", actions.openMenu)}
    </div>
  );
}

function FailedNotice({ message }: { message: Message }) {
  const { retry, discard } = useActions();
  return (
    <FailedRow
      label="Message not sent"
      text={sendErrorText(message.error)}
      onRetry={() => retry(message)}
      onDiscard={() => discard(message)}
    />
  );
}
