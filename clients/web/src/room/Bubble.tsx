import type { Message } from "@tidings/client";
import { useMembers } from "@tidings/react";
import { memo } from "react";
import { senderName } from "../logic/names.ts";
import { isEmojiOnly, linkify } from "../logic/preview.ts";
import { privateLabel } from "../logic/private.ts";
import { TICK_LABELS, type Tick } from "../logic/ticks.ts";
import { exactTime, timeOfDay } from "../logic/time.ts";
import { colourStyle } from "../ui/colours.ts";
import { Icon, TickIcon } from "../ui/Icon.tsx";
import { useActions } from "./actions.ts";
import { Quote } from "./Quote.tsx";

/** The properties of a link in a message. */
const NEW_TAB = { target: "_blank", rel: "noopener noreferrer nofollow", tabIndex: -1 };

interface BubbleProps {
  readonly message: Message;
  readonly tick: Tick;
  readonly showName: boolean;
}

/** The bubble of a message: its text, its time and its tick. */
export const Bubble = memo(function Bubble({ message, tick, showName }: BubbleProps) {
  const large = !message.deleted && message.replyTo === undefined && isEmojiOnly(message.content);
  const edited = message.editedAt !== undefined && !message.deleted;
  const ticked = tick !== "none" && tick !== "failed";
  const time = timeOfDay(message.at);
  return (
    <div className="bubble" data-large={large || undefined} data-private={message.visibleTo ? "" : undefined}>
      {showName && (
        <div className="bubble-name" style={colourStyle(message.sender.id)}>
          {senderName(message)}
        </div>
      )}
      {message.visibleTo && <PrivateLine message={message} />}
      {message.replyTo !== undefined && !message.deleted && <Quote seq={message.replyTo} />}
      <div className="bubble-text" dir="auto">
        {message.deleted ? (
          <em className="bubble-gone">This message was deleted</em>
        ) : (
          <Text text={message.content} />
        )}
        {/* Reserves space for the time in the last line, so that the time never covers the text. */}
        <span
          className="bubble-meta-room"
          data-text={`${edited ? "edited " : ""}${time}${ticked ? " \u2003" : ""}`}
        />
      </div>
      {!message.deleted && message.attachments.length > 0 && <Attachments message={message} />}
      <div className="bubble-meta line">
        {edited && <span>edited</span>}
        <time dateTime={new Date(message.at).toISOString()} title={exactTime(message.at)}>
          {time}
        </time>
        {ticked && (
          <span
            className="tick"
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
  );
});

function Text({ text }: { text: string }) {
  return linkify(text).map((part, index) =>
    part.href ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: the parts of one text never change their order
      <a key={index} href={part.href} {...NEW_TAB}>
        {part.text}
      </a>
    ) : (
      part.text
    ),
  );
}

function PrivateLine({ message }: { message: Message }) {
  const { nameOf } = useActions();
  const known = useMembers(message.room).items !== undefined;
  return (
    <div className="private-line line">
      <Icon name="lock" size={14} />
      <span>{privateLabel(message, known, nameOf)}</span>
    </div>
  );
}

function Attachments({ message }: { message: Message }) {
  return (
    <ul className="attachments column">
      {message.attachments.map((file) => (
        <li key={file.url}>
          <a href={file.url} className="line" {...NEW_TAB}>
            <Icon name="file" size={18} />
            <span>{file.name}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}
