import type { MessageList } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { useEffect, useRef, useState } from "react";
import { isSystemEvent, type SystemEvent } from "../logic/systemLines.js";
import { createSystemEventReader, type ReadRange } from "./systemEventReader.js";

const NO_EVENTS: readonly SystemEvent[] = [];

/**
 * The changes of members and settings among the loaded messages of a room, ascending by seq. Reads the log beside the
 * messages, and follows new events. Without an answer the messages are shown without these events, and the next
 * reconnect reads again.
 */
export function useSystemEvents(
  room: string,
  { items, hasOlder, hasNewer }: Pick<MessageList, "items" | "hasOlder" | "hasNewer">,
  live: boolean,
): readonly SystemEvent[] {
  const client = useTidings();
  const [events, setEvents] = useState(NO_EVENTS);
  const known = useRef<ReadRange>(undefined);
  const want = useRef<ReturnType<typeof createSystemEventReader>>(undefined);
  const start = hasOlder ? (items[0]?.seq ?? 1) - 1 : 0;
  const end = hasNewer ? items.findLast((message) => message.seq !== undefined)?.seq : undefined;

  useEffect(
    () =>
      client.on("event", (event) => {
        if (event.room !== room) return;
        if (event.type === "message:void") {
          setEvents((before) => before.filter(({ seq }) => seq !== event.target));
        } else if (isSystemEvent(event)) setEvents((before) => mergeEvents(before, [event]));
      }),
    [client, room],
  );

  // A new reader after each reconnect, because events may have been missed.
  useEffect(() => {
    if (!live) return undefined;
    const aborter = new AbortController();
    want.current = createSystemEventReader({
      client,
      room,
      known: known.current,
      onRead: (found, range) => {
        if (aborter.signal.aborted) return;
        if (range) known.current = range;
        // Each live message moves a full window. This must not cause a second render: see `Announcer`.
        if (found.length > 0) setEvents((before) => mergeEvents(before, found));
      },
      signal: aborter.signal,
    });
    return () => {
      aborter.abort();
      want.current = undefined;
    };
  }, [client, room, live]);

  useEffect(() => {
    if (live) want.current?.({ start, end });
  }, [live, start, end]);
  return events;
}

/** Adds events in the order of their seqs, each once. Returns the same array when nothing is new. */
function mergeEvents(before: readonly SystemEvent[], added: readonly SystemEvent[]): readonly SystemEvent[] {
  const seqs = new Set(before.map(({ seq }) => seq));
  const unknown = added.filter(({ seq }) => !seqs.has(seq));
  return unknown.length === 0 ? before : [...before, ...unknown].sort((a, b) => a.seq - b.seq);
}
