import type { Message } from "@tidings/client";
import { useConnection, useMessages, useRead, useReceipts, useTidings } from "@tidings/react";
import { type ReactNode, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { isDown } from "../logic/connection.js";
import { buildRows, countsAsUnread, isMessageKey, type Row } from "../logic/rows.js";
import { systemLines } from "../logic/systemLines.js";
import { audienceOf, groupTickOf, seenBy, seenText, tickOf } from "../logic/ticks.js";
import { badgeText, roomTitle } from "../logic/title.js";
import { useChatUi } from "../state/chatUi.js";
import { useZone } from "../state/useNow.js";
import { Icon } from "../ui/Icon.js";
import { Announcer } from "./Announcer.js";
import { useActions } from "./actions.js";
import { MessageRow } from "./MessageRow.js";
import { mayWrite } from "./permissions.js";
import { useRoomContext } from "./roomContext.js";
import { DayRow, EdgeRow, MessageSkeleton, StartRow, UnreadPill, UnreadRow } from "./Separators.js";
import { SystemAnnouncer, SystemRow } from "./SystemRow.js";
import { useJump } from "./useJump.js";
import { useListKeys } from "./useListKeys.js";
import { useNames } from "./useNames.js";
import { useReadUpTo } from "./useReadUpTo.js";
import { useAllMembers } from "./useRoomMembers.js";
import { type ListHandle, VirtualList } from "./VirtualList.js";

/** The messages of a room. Only those near the view are in the page. */
export function MessageList(): ReactNode {
  const { room, summary, jump: target } = useRoomContext();
  const { savedPositions, user } = useChatUi();
  const [savedPosition] = useState(() => (target ? undefined : savedPositions.get(room)));
  const messages = useMessages(room, { at: target?.seq ?? savedPosition?.seq ?? "unread" });
  const { items, hasOlder, loadingOlder, loadOlder, hasNewer, loadingNewer, loadNewer, phase, error } =
    messages;
  const { jumpTo, jumpToLatest, systemEvents } = messages;
  const receipts = useReceipts(room);
  const members = useAllMembers(room);
  const { observe } = useRead(room);
  const actions = useActions();
  const handle = useTidings().room(room);
  const list = useRef<ListHandle>(null);
  const { readUpTo, loaded, clear } = useReadUpTo(room, summary);
  const isDisconnected = isDown(useConnection());
  const waiting = phase === "closed" || phase === "loading" || !loaded;
  const { jump, jumping, flash } = useJump(room, !waiting, list);
  const [atEnd, setAtEnd] = useState(true);

  const nameOf = useNames(members, items, systemEvents);
  const zone = useZone();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the days of the rows depend on the zone
  const rows = useMemo(
    () => buildRows(items, { hasOlder, hasNewer, readUpTo, events: systemEvents }),
    [items, hasOlder, hasNewer, readUpTo, systemEvents, zone],
  );
  const keys = useMemo(() => rows.map((row) => row.key), [rows]);
  const toNewest = useCallback(async () => {
    if (await jumpToLatest()) list.current?.scrollToEnd();
  }, [jumpToLatest]);
  const onKeyDown = useListKeys(rows, list, actions, toNewest);

  // Remembers the message at the top of the view for the next time that the user opens the room.
  useLayoutEffect(
    () => () => {
      if (!list.current) return;
      const at = list.current.topRow();
      const message = at && handle.messages.get().items.find(({ key }) => key === at.key);
      if (at && message?.seq !== undefined) savedPositions.set(room, { ...at, seq: message.seq });
      else savedPositions.delete(room);
    },
    [room, handle, savedPositions],
  );

  useEffect(() => {
    if (target) jump(target.seq);
  }, [target, jump]);

  // After a send the list scrolls to the new message, and the unread divider is removed, because the user has seen the
  // messages above.
  const newest = items.at(-1);
  const lastOwn = useRef(newest?.key);
  useEffect(() => {
    if (newest?.key === lastOwn.current) return;
    lastOwn.current = newest?.key;
    if (newest?.status === "sending") {
      list.current?.scrollToEnd();
      clear();
    }
  }, [newest, clear]);

  // Counts the unread messages, which are all below the view, because visible messages are marked as read.
  const read = summary?.readSeq ?? 0;
  let unreadBelow = 0;
  for (let at = items.length - 1; at >= 0 && (items[at]?.seq ?? Infinity) > read; at -= 1) {
    if (countsAsUnread(items[at])) unreadBelow += 1;
  }
  const unread = summary?.unread ?? 0;
  // Unread messages above the loaded ones. The read mark does not move until these are loaded.
  const hasUnloadedUnread =
    hasOlder && (items[0]?.seq ?? 0) > read + 1 && (summary?.unreadCapped || unreadBelow < unread);
  if (hasNewer) unreadBelow = unread;
  const firstUnread = items.find((one) => countsAsUnread(one) && (one.seq ?? 0) > read);
  const [firstUnreadInfo, setFirstUnreadInfo] = useState<{ seq: number; at: number }>();
  if (!hasUnloadedUnread && firstUnread?.seq !== undefined && firstUnread.seq !== firstUnreadInfo?.seq) {
    setFirstUnreadInfo({ seq: firstUnread.seq, at: firstUnread.at });
  }
  const toUnread = async () => {
    await jumpTo(read + 1);
    const first = handle.messages.get().items.find((one) => countsAsUnread(one) && (one.seq ?? 0) > read);
    if (first?.seq !== undefined) jump(first.seq);
  };
  const markAllRead = () => {
    const last = summary?.lastMessage?.seq;
    if (last !== undefined) handle.markRead(last, { acrossGaps: true });
    clear();
  };

  const loading = loadingOlder || loadingNewer || jumping;
  const loadFailed = error !== undefined && (hasOlder || hasNewer) && !loading;
  const onNearStart = useCallback(() => {
    if (hasOlder && !loading && !loadFailed) void loadOlder();
  }, [hasOlder, loading, loadFailed, loadOlder]);
  const onNearEnd = useCallback(() => {
    if (hasNewer && !loading && !loadFailed) void loadNewer();
  }, [hasNewer, loading, loadFailed, loadNewer]);

  const isWritable = mayWrite(summary);
  const isDirect = summary?.kind === "direct";
  const lastSent = isDirect || hasNewer ? undefined : items.findLast(isSeenCandidate);
  const tick = (message: Message) =>
    isDirect
      ? tickOf(message, receipts, audienceOf(message, members))
      : groupTickOf(message, receipts, members);
  const renderRow = (row: Row) => {
    switch (row.type) {
      case "start":
        return <StartRow key={row.key} title={roomTitle(summary)} direct={isDirect} waiting={waiting} />;
      case "older":
        return <EdgeRow key={row.key} edge="older" failed={loadFailed} onRetry={() => void loadOlder()} />;
      case "newer":
        return <EdgeRow key={row.key} edge="newer" failed={loadFailed} onRetry={() => void loadNewer()} />;
      case "day":
        return <DayRow key={row.key} rowKey={row.key} at={row.at} />;
      case "unread":
        return <UnreadRow key={row.key} />;
      case "system":
        return <SystemRow key={row.key} rowKey={row.key} lines={systemLines(row.events, nameOf, user)} />;
      case "message":
        return (
          <MessageRow
            key={row.key}
            message={row.message}
            first={row.first}
            last={row.last}
            tick={tick(row.message)}
            seen={row.message === lastSent ? seenText(seenBy(lastSent, receipts, members)) : undefined}
            group={!isDirect}
            writable={isWritable}
            flash={flash === row.key}
            observe={loaded ? observe(row.message.seq) : undefined}
          />
        );
    }
  };

  // While disconnected, the pane shows a notice or the messages that wait to be sent, not a skeleton.
  if (waiting && !isDisconnected && error === undefined) return <MessageSkeleton />;
  if (items.length === 0 && (phase === "offline" || (waiting && isDisconnected))) {
    return (
      <div className="tidings-pane-notice tidings-centred tidings-column">
        <Icon name="offline" size={28} />
        <p>The messages of this room will appear when you are connected.</p>
      </div>
    );
  }
  // The list starts at the message of a link, else at its saved position, else at the first unread message.
  const linkedMessage = target && items.find(({ seq }) => seq === target.seq);
  const linkedStart = linkedMessage && { key: linkedMessage.key, above: Math.round(window.innerHeight / 3) };
  const unreadStart = rows.some((row) => row.type === "unread") ? { key: "unread", above: 96 } : undefined;
  return (
    <div className="tidings-message-pane">
      <VirtualList
        keys={keys}
        start={linkedStart ?? savedPosition ?? unreadStart}
        openEnd={hasNewer}
        canAnchor={canAnchor}
        onNearStart={onNearStart}
        onNearEnd={onNearEnd}
        onAtEnd={setAtEnd}
        handle={list}
        label={`Messages of ${roomTitle(summary)}`}
        busy={loading}
        onKeyDown={onKeyDown}
      >
        {(index) => {
          const row = rows[index];
          return row && renderRow(row);
        }}
      </VirtualList>
      {jumping && (
        <div className="tidings-pane-jumping tidings-line" role="status">
          <span className="tidings-spinner" /> Looking for the message…
        </div>
      )}
      {hasUnloadedUnread && !jumping && (
        <UnreadPill
          count={badgeText(unread, summary?.unreadCapped)}
          since={firstUnreadInfo?.at}
          onJump={toUnread}
          onMarkRead={markAllRead}
        />
      )}
      {(!atEnd || hasNewer) && (
        <button
          type="button"
          className="tidings-icon-button tidings-to-newest"
          aria-label={unreadBelow > 0 ? `Jump to newest, ${badgeText(unreadBelow)} new` : "Jump to newest"}
          onClick={toNewest}
        >
          <Icon name="arrowDown" />
          {unreadBelow > 0 && <span className="tidings-badge">{badgeText(unreadBelow)}</span>}
        </button>
      )}
      <Announcer messages={items} live={phase === "live"} behind={hasNewer} />
      <SystemAnnouncer room={room} user={user} nameOf={nameOf} live={phase === "live"} />
    </div>
  );
}

/** Whether the line about readers may be below a message. It is below the newest such message. */
const isSeenCandidate = (message: Message): boolean =>
  message.mine && message.status === "sent" && !message.deleted;

/** The first rows cannot be anchors, because they change when older messages are loaded. */
const canAnchor = (key: string, index: number): boolean => isMessageKey(key) && index > 2;
