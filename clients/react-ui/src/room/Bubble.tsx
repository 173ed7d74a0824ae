import type { Message } from "@tidings/client";
import { memo } from "react";
import { ChatErrorBoundary } from "../ChatErrorBoundary.js";
import { Attachments } from "../files/Attachments.js";
import { isMentioned } from "../logic/mentions.js";
import { senderName } from "../logic/names.js";
import { originalTime } from "../logic/originalTime.js";
import { isEmojiOnly } from "../logic/preview.js";
import { privateLabel } from "../logic/private.js";
import { TICK_LABELS, type Tick } from "../logic/ticks.js";
import { exactTime, timeOfDay } from "../logic/time.js";
import type { ChatSlots } from "../slots.js";
import { useChatUi } from "../state/chatUi.js";
import { useZone } from "../state/useNow.js";
import { colourStyle } from "../ui/colours.js";
import { Icon, TickIcon } from "../ui/Icon.js";
import { useActions } from "./actions.js";
import { MessageText } from "./MessageText.js";
import { Quote } from "./Quote.js";
import { SendsIn } from "./SlowMode.js";
import { useAllMembers, useIsSmall, useNamesIn } from "./useRoomMembers.js";

interface BubbleProps {
  readonly message: Message;
  readonly tick: Tick;
  readonly showName: boolean;
}

/** The bubble of a message: its text, its time and its tick. */
export const Bubble = memo(function Bubble({ message, tick, showName }: BubbleProps) {
  const isLarge = !message.deleted && message.replyTo === undefined && isEmojiOnly(message.content);
  const isEdited = message.editedAt !== undefined && !message.deleted;
  const { slots, user } = useChatUi();
  const mentionsMe = isMentioned(message, user);
  const at = originalTime(message);
  useZone();
  const hasTick = tick !== "none" && tick !== "failed";
  return (
    <div
      className="tidings-bubble"
      data-large={isLarge || undefined}
      data-private={message.visibleTo ? "" : undefined}
      data-mentioned={mentionsMe || undefined}
    >
      {showName && (
        <div className="tidings-bubble-name" dir="auto" style={colourStyle(message.sender.id)}>
          {senderName(message)}
        </div>
      )}
      {mentionsMe && <span className="tidings-visually-hidden">Mentions you. </span>}
      {message.visibleTo && <PrivateLine message={message} />}
      {message.replyTo !== undefined && !message.deleted && <Quote seq={message.replyTo} />}
      {/* The direction of the text also applies to the time, so the time is at the end of a line in each script. */}
      <div className="tidings-bubble-body" dir="auto">
        <div className="tidings-bubble-text">
          {message.deleted ? (
            <em className="tidings-bubble-gone">
              <DeletedText message={message} />
            </em>
          ) : (
            <Text message={message} slot={slots.MessageText} />
          )}
        </div>
        {!message.deleted && message.attachments.length > 0 && <Attachments message={message} />}
        <div className="tidings-bubble-meta tidings-line">
          {message.pendingChange?.status === "sending" && <span>saving…</span>}
          {isEdited && <span>edited</span>}
          {message.retryAt !== undefined && <SendsIn message={message} />}
          <time dir="auto" dateTime={new Date(at).toISOString()} title={exactTime(at)}>
            {timeOfDay(at)}
          </time>
          {hasTick && (
            <span
              className="tidings-tick"
              data-tick={tick}
              role="img"
              aria-label={TICK_LABELS[tick]}
              title={TICK_LABELS[tick]}
            >
              <TickIcon tick={tick} />
            </span>
          )}
        </div>
      </div>
    </div>
  );
});

function Text({ message, slot: Slot }: { message: Message; slot: ChatSlots["MessageText"] }) {
  if (Slot === undefined) return <MessageText message={message} />;
  return (
    <ChatErrorBoundary
      key={message.content}
      fallback={() => <em className="tidings-bubble-gone">This message cannot be shown</em>}
    >
      <Slot message={message} />
    </ChatErrorBoundary>
  );
}

/** The text in place of a deleted message. Names the user who deleted it, unless that is the sender. */
function DeletedText({ message }: { message: Message }) {
  const { deletedBy, sender } = message;
  if (deletedBy === undefined || deletedBy === sender.id) return "This message was deleted";
  return <DeletedByText room={message.room} by={deletedBy} />;
}

function DeletedByText({ room, by }: { room: string; by: string }) {
  const { nameOf } = useActions();
  const { user } = useChatUi();
  // Renders again when the name is known.
  useNamesIn(room, [by]);
  return <>{by === user ? "You" : nameOf(by)} deleted this message</>;
}

function PrivateLine({ message }: { message: Message }) {
  const { nameOf } = useActions();
  const isSmall = useIsSmall(message.room);
  const members = useAllMembers(message.room);
  useNamesIn(message.room, message.visibleTo?.users ?? []);
  const namesKnown = !isSmall || members !== undefined;
  return (
    <div className="tidings-private-line tidings-line">
      <Icon name="lock" size={14} />
      <span>{privateLabel(message, namesKnown, nameOf)}</span>
    </div>
  );
}
