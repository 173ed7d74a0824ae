import type { OutboxEntry, RoomSummary } from "@tidings/client";
import { useDraft, useTyping } from "@tidings/react";
import { type MouseEvent, memo } from "react";
import { displayName, typingText } from "../logic/names.js";
import { originalTime } from "../logic/originalTime.js";
import { isNewer, lastMessageText, previewText } from "../logic/preview.js";
import { listTime } from "../logic/time.js";
import { badgeText, roomTitle } from "../logic/title.js";
import { useChatUi } from "../state/chatUi.js";
import { useNow } from "../state/useNow.js";
import { Icon } from "../ui/Icon.js";
import { RoomAvatar } from "../ui/RoomAvatar.js";
import { type Point, useContextMenu } from "../ui/useContextMenu.js";

interface RoomItemProps {
  readonly room: RoomSummary;
  readonly current: boolean;
  /** The user's newest message in the outbox for this room. */
  readonly waiting: OutboxEntry | undefined;
  /** Whether the user has marked the room as unread. */
  readonly marked: boolean;
  /** Whether the user gets no notifications of the room. */
  readonly quiet: boolean;
  /** Whether Tab stops at this item; the arrow keys reach the others. */
  readonly tabStop: boolean;
  readonly onMenu: (room: RoomSummary, anchor: HTMLElement, at: Point | undefined) => void;
}

/** An item of the list of rooms. */
export const RoomItem = memo(function RoomItem(props: RoomItemProps) {
  const { room, current, waiting, marked, quiet, tabStop, onMenu } = props;
  const menu = useContextMenu((anchor, at) => onMenu(room, anchor, at));
  const { go, href, slots } = useChatUi();
  const Content = slots.RoomItem;
  // Navigates with `go`, which keeps the browser's history short. With a modifier key the browser handles the click.
  const open = (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go({ room: room.id });
  };
  return (
    <li>
      <a
        href={href?.({ room: room.id }) ?? "#"}
        className="tidings-room-item tidings-hoverable tidings-line"
        data-testid="room-item"
        data-room={room.id}
        data-muted={quiet || undefined}
        tabIndex={tabStop ? 0 : -1}
        onClick={open}
        {...menu}
        aria-current={current ? "page" : undefined}
      >
        {Content ? (
          <Content room={room} current={current} />
        ) : (
          <RoomItemContent room={room} current={current} waiting={waiting} marked={marked} quiet={quiet} />
        )}
      </a>
    </li>
  );
});

type RoomItemContentProps = Pick<RoomItemProps, "room" | "current" | "waiting" | "marked" | "quiet">;

function RoomItemContent({ room, current, waiting, marked, quiet }: RoomItemContentProps) {
  const now = useNow(60_000);
  const draft = useDraft(room.id).content.trim();
  const { typing } = useTyping(room.id);
  const { lastMessage: last, unread, unreadMentions } = room;
  const typingLine = typingText(typing.map((user) => displayName(user.id, user.name)));
  const own = isNewer(waiting, last) ? waiting : undefined;
  // The time of a room that was joined but not read yet is unknown, and then 0.
  const at = own?.at ?? (last ? originalTime(last) : room.updatedAt || undefined);
  return (
    <>
      <RoomAvatar room={room} />
      <span className="tidings-room-item-body tidings-column">
        <span className="tidings-room-item-line tidings-line">
          <span className="tidings-room-item-name tidings-ellipsis" dir="auto">
            {roomTitle(room)}
          </span>
          {quiet && (
            <>
              <Icon name="bellOff" size={14} />
              <span className="tidings-visually-hidden">, no notifications</span>
            </>
          )}
          {room.archived && (
            <>
              <Icon name="archive" size={14} />
              <span className="tidings-visually-hidden">, archived</span>
            </>
          )}
          {at !== undefined && (
            <time dateTime={new Date(at).toISOString()} data-unread={unread > 0 || undefined}>
              {listTime(at, now)}
            </time>
          )}
        </span>
        <span className="tidings-room-item-line tidings-line">
          <span
            className="tidings-room-item-last tidings-ellipsis"
            dir="auto"
            data-typing={typingLine !== "" || undefined}
          >
            {typingLine !== "" ? (
              `${typingLine}…`
            ) : (
              <LastMessageLine room={room} draft={current ? undefined : draft} own={own} />
            )}
          </span>
          {unread === 0 && marked && (
            <span className="tidings-badge tidings-badge-dot">
              <span className="tidings-visually-hidden">, marked as unread</span>
            </span>
          )}
          {unreadMentions > 0 && (
            <span className="tidings-badge tidings-badge-mention">
              <span className="tidings-visually-hidden">, </span>
              <span aria-hidden="true">@</span>
              {unreadMentions > 1 && badgeText(unreadMentions)}
              <span className="tidings-visually-hidden">
                {unreadMentions > 1 ? " unread messages mention you" : "an unread message mentions you"}
              </span>
            </span>
          )}
          {unread > 0 && (
            <span className="tidings-badge">
              <span className="tidings-visually-hidden">, </span>
              {badgeText(unread, room.unreadCapped)}
              <span className="tidings-visually-hidden"> unread</span>
            </span>
          )}
        </span>
      </span>
    </>
  );
}

interface LastMessageLineProps {
  readonly room: RoomSummary;
  readonly draft: string | undefined;
  readonly own: OutboxEntry | undefined;
}

function LastMessageLine({ room, draft, own }: LastMessageLineProps) {
  if (draft) {
    return (
      <>
        <span className="tidings-room-item-draft">Draft:</span> {draft}
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
        <span className="tidings-room-item-draft">Not sent:</span> {text}
      </>
    );
  }
  if (room.lastMessage) return lastMessageText(room.lastMessage, room.kind);
  return room.archived ? "Archived" : "No messages yet";
}
