import type { TidingsClientLike } from "@tidings/client";
import { roomEvents } from "@tidings/client/http";
import { isSystemEvent, type SystemEvent } from "../logic/systemLines.js";

/**
 * The positions of the log after which a read ends. In a log with few messages among many changes, events are missing
 * until the next read. Pages have up to 200 positions, and fewer if their events are large.
 */
const MAX_POSITIONS = 2_000;

/** The positions of the log that were read: those above `from`, up to `to`. */
export interface ReadRange {
  from: number;
  to: number;
}

/** The positions to read: those above `start`, up to `end`. Without `end` they go on to the end of the log. */
interface WantedRange {
  readonly start: number;
  readonly end: number | undefined;
}

interface ReaderOptions {
  readonly client: TidingsClientLike;
  readonly room: string;
  /** What earlier readers have read. */
  readonly known: ReadRange | undefined;
  /** Receives the events that were read, and the range that is read now. */
  readonly onRead: (events: readonly SystemEvent[], range: ReadRange | undefined) => void;
  readonly signal: AbortSignal;
}

/**
 * Makes a function that reads the events of a range that was not read before. One read runs at a time; after it the
 * newest wanted range is read. An error ends the reader.
 */
export function createSystemEventReader({ client, room, known, onRead, signal }: ReaderOptions) {
  let range = known && { ...known };
  /** Whether this reader has read up to the end of the log. Later events come live. */
  let isAtEnd = false;
  let wanted: WantedRange | undefined;
  let isRunning = false;

  /** Reads pages above `after` up to `upto`, or up to the end of the log. Returns where the read ended. */
  const readPages = async (after: number, upto = Number.POSITIVE_INFINITY) => {
    let next = after;
    let atEnd = false;
    while (!atEnd && next < upto && next - after < MAX_POSITIONS) {
      const answer = await roomEvents(client, room, next, { signal });
      onRead(answer.events.filter(isSystemEvent), undefined);
      // A page that leads no further also ends the read.
      atEnd = !answer.more || answer.next <= next;
      next = Math.max(next, answer.next);
    }
    return { next, atEnd };
  };

  const read = async ({ start, end }: WantedRange) => {
    const isBeside = range && start <= range.to && (end === undefined || end >= range.from);
    if (!range || !isBeside) {
      range = { from: start, to: start };
      isAtEnd = false;
    }
    if (start < range.from) {
      const { next } = await readPages(start, range.from);
      // A range has no holes, so after an incomplete read the next one starts where this one ended.
      if (next < range.from) {
        range.to = next;
        isAtEnd = false;
      }
      range.from = start;
    }
    if (!isAtEnd && (end === undefined || end > range.to)) {
      const { next, atEnd } = await readPages(range.to, end);
      range.to = next;
      isAtEnd = atEnd;
    }
    onRead([], { ...range });
  };

  const run = async () => {
    isRunning = true;
    while (wanted && !signal.aborted) {
      const next = wanted;
      wanted = undefined;
      await read(next);
    }
    isRunning = false;
  };

  return (next: WantedRange): void => {
    wanted = next;
    // The events are less important than the messages, so an error is not shown.
    if (!isRunning) run().catch(() => {});
  };
}
