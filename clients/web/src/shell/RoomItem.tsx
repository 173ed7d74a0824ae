import type { OutboxEntry, RoomSummary } from "@tidings/client";
import { useTyping } from "@tidings/react";
import { type MouseEvent, memo } from "react";
import { displayName, typingText } from "../logic/names.ts";
import { isNewer, lastMessageText, previewText } from "../logic/preview.ts";
import { listTime } from "../logic/time.ts";
import { badgeText, roomTitle } from "../logic/title.ts";
import { useApp } from "../state/app.ts";
import { routeHash } from "../state/route.ts";
import { useNow } from "../state/useNow.ts";
import { Icon } from "../ui/Icon.tsx";
import { RoomAvatar } from "../ui/RoomAvatar.tsx";

interface RoomItemProps {
  readonly room: RoomSummary;
  readonly current: boolean;
  readonly draft: string | undefined;
  /** The user's newest message in the outbox for this room. */
  readonly waiting: OutboxEntry | undefined;
}

/** An item of the list of rooms. */
export const RoomItem = memo(function RoomItem({ room, current, draft, waiting }: RoomItemProps) {
  const now = useNow(60_000);
  const { go } = useApp();
  const { typing } = useTyping(room.id);
  const { lastMessage: last, unread } = room;
  const typingLine = typingText(typing.map((user) => displayName(user.id, user.name)));
  const own = isNewer(waiting, last) ? waiting : undefined;
  const at = own?.at ?? last?.at ?? room.updatedAt;
  // Navigates with `go`, which keeps the browser's history short. With a modifier key the browser handles the click.
  const open = (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go({ room: room.id });
  };
  return (
    <li>
      <a
        href={routeHash({ room: room.id })}
        className="room-item hoverable line"
        data-testid="room-item"
        data-room={room.id}
        onClick={open}
        aria-current={current ? "page" : undefined}
      >
        <RoomAvatar room={room} />
        <span className="room-item-body column">
          <span className="room-item-line line">
            <span className="room-item-name ellipsis">{roomTitle(room)}</span>
            {room.archived && (
              <>
                <Icon name="archive" size={14} />
                <span className="visually-hidden">, archived</span>
              </>
            )}
            <time dateTime={new Date(at).toISOString()} data-unread={unread > 0 || undefined}>
              {listTime(at, now)}
            </time>
          </span>
          <span className="room-item-line line">
            <span className="room-item-last ellipsis" data-typing={typingLine !== "" || undefined}>
              {typingLine !== "" ? (
                `${typingLine}…`
              ) : (
                <LastMessageLine room={room} draft={current ? undefined : draft} own={own} />
              )}
            </span>
            {unread > 0 && (
              <span className="badge">
                <span className="visually-hidden">, </span>
                {badgeText(unread, room.unreadCapped)}
                <span className="visually-hidden"> unread</span>
              </span>
            )}
          </span>
        </span>
      </a>
    </li>
  );
});

interface LastMessageLineProps {
  readonly room: RoomSummary;
  readonly draft: string | undefined;
  readonly own: OutboxEntry | undefined;
}

function LastMessageLine({ room, draft, own }: LastMessageLineProps) {
  if (draft) {
    return (
      <>
        <span className="room-item-draft">Draft:</span> {draft}
      </>
    );
  }
  if (own) {
    const text = previewText({
      content: own.content,
      deleted: false,
      attachments: own.options.attachments ?? [],
    });
    if (own.status !== "failed") return `You: ${text}`;
    return (
      <>
        <span className="room-item-draft">Not sent:</span> {text}
      </>
    );
  }
  if (room.lastMessage) return lastMessageText(room.lastMessage, room.kind);
  return room.archived ? "Archived" : "No messages yet";
}
