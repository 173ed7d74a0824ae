import { useConnection, useMembers, useMessages, useRead, useReceipts, useRoom } from "@tidings/react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { isDown } from "../logic/connection.ts";
import { buildRows, countsAsUnread, isMessageKey, type Row } from "../logic/rows.ts";
import { audienceOf, tickOf } from "../logic/ticks.ts";
import { badgeText, roomTitle } from "../logic/title.ts";
import { Icon } from "../ui/Icon.tsx";
import { Announcer } from "./Announcer.tsx";
import { useActions } from "./actions.ts";
import { MessageRow } from "./MessageRow.tsx";
import { mayWrite } from "./permissions.ts";
import { DayRow, MessageSkeleton, OlderRow, StartRow, UnreadRow } from "./Separators.tsx";
import { type JumpTarget, useJump } from "./useJump.ts";
import { useListKeys } from "./useListKeys.ts";
import { useReadUpTo } from "./useReadUpTo.ts";
import { type ListHandle, VirtualList } from "./VirtualList.tsx";

interface MessagePaneProps {
  readonly room: string;
  /** The message to jump to. */
  readonly target: JumpTarget | undefined;
  /** Called for a jump to a message that is too far back to load. */
  readonly onFar: (seq: number) => void;
}

/** The messages of a room. */
export function MessagePane({ room, target, onFar }: MessagePaneProps) {
  const { items, hasOlder, loadingOlder, loadOlder, phase, error } = useMessages(room);
  const { summary } = useRoom(room);
  const receipts = useReceipts(room);
  const members = useMembers(room).items;
  const { observe } = useRead(room);
  const actions = useActions();
  const list = useRef<ListHandle>(null);
  const { readUpTo, loaded, clear } = useReadUpTo(room, summary);
  const down = isDown(useConnection());
  const waiting = phase === "closed" || phase === "loading" || !loaded;
  const { jump, jumping, flash } = useJump(room, !waiting, list, onFar);
  const [atEnd, setAtEnd] = useState(true);

  const rows = useMemo(() => buildRows(items, { hasOlder, readUpTo }), [items, hasOlder, readUpTo]);
  const keys = useMemo(() => rows.map((row) => row.key), [rows]);
  const onKeyDown = useListKeys(rows, list, actions);

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
  let below = 0;
  for (let at = items.length - 1; at >= 0 && (items[at]?.seq ?? Infinity) > read; at -= 1) {
    if (countsAsUnread(items[at])) below += 1;
  }

  const failed = error !== undefined && hasOlder && !loadingOlder;
  const onNearStart = useCallback(() => {
    if (hasOlder && !loadingOlder && !failed) void loadOlder();
  }, [hasOlder, loadingOlder, failed, loadOlder]);

  const writable = mayWrite(summary);
  const direct = summary?.kind === "direct";
  const renderRow = (row: Row) => {
    switch (row.type) {
      case "start":
        return <StartRow key={row.key} title={roomTitle(summary)} direct={direct} waiting={waiting} />;
      case "older":
        return <OlderRow key={row.key} failed={failed} onRetry={() => void loadOlder()} />;
      case "day":
        return <DayRow key={row.key} rowKey={row.key} at={row.at} />;
      case "unread":
        return <UnreadRow key={row.key} />;
      case "message":
        return (
          <MessageRow
            key={row.key}
            message={row.message}
            first={row.first}
            last={row.last}
            tick={tickOf(row.message, receipts, audienceOf(row.message, members))}
            group={!direct}
            writable={writable}
            flash={flash === row.key}
            observe={loaded ? observe(row.message.seq) : undefined}
          />
        );
    }
  };

  // The skeleton is shown only while the connection works. Otherwise the pane shows a notice, or the messages that wait
  // to be sent.
  if (waiting && !down && error === undefined) return <MessageSkeleton />;
  if (items.length === 0 && (phase === "offline" || (waiting && down))) {
    return (
      <div className="pane-notice centred column">
        <Icon name="offline" size={28} />
        <p>The messages of this room will appear when you are connected.</p>
      </div>
    );
  }
  const startKey = rows.some((row) => row.type === "unread") ? "unread" : undefined;
  return (
    <div className="message-pane">
      <VirtualList
        keys={keys}
        startKey={startKey}
        canAnchor={canAnchor}
        onNearStart={onNearStart}
        onAtEnd={setAtEnd}
        handle={list}
        label={`Messages of ${roomTitle(summary)}`}
        busy={loadingOlder}
        onKeyDown={onKeyDown}
      >
        {(index) => {
          const row = rows[index];
          return row && renderRow(row);
        }}
      </VirtualList>
      {jumping && (
        <div className="pane-jumping line" role="status">
          <span className="spinner" /> Looking for the message…
        </div>
      )}
      {!atEnd && (
        <button
          type="button"
          className="icon-button to-newest"
          aria-label={below > 0 ? `Jump to newest, ${below} new` : "Jump to newest"}
          onClick={() => list.current?.scrollToEnd()}
        >
          <Icon name="arrowDown" />
          {below > 0 && <span className="badge">{badgeText(below)}</span>}
        </button>
      )}
      <Announcer messages={items} live={phase === "live"} />
    </div>
  );
}

/** The first rows cannot be anchors, because they change when older messages are loaded. */
const canAnchor = (key: string, index: number): boolean => isMessageKey(key) && index > 2;
