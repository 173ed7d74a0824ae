import type { ClientEvents, Message, Room } from "@tidings/client";

type LogEvent = ClientEvents["event"];

/** What is quoted: not there until it was read, `missing` where it is not to be seen. */
export type Quoted = Message | "missing" | undefined;

/** The messages of a room that others answer, each as it is now. */
export interface Quotes {
  readonly get: (seq: number) => Quoted;
  /** Reads a message that is not held, unless that was asked for. */
  readonly ask: (seq: number) => void;
  readonly subscribe: (listener: () => void) => () => void;
  /** Brings what was read up to an event. */
  readonly hear: (event: LogEvent) => void;
  /** What was read may be old, or could not be read: it is to be asked for again. */
  readonly forget: () => void;
}

/** Makes the quotes of a room; `read` tells of a message that is not held. */
export function makeQuotes(
  room: Pick<Room, "id" | "messages">,
  read: (seq: number) => Promise<Message | undefined>,
): Quotes {
  const kept = new Map<number, Message | "missing">();
  const asked = new Set<number>();
  /** The last change of each message: storage may tell of it later than the event did. */
  const changes = new Map<number, LogEvent>();
  const listeners = new Set<() => void>();
  const tell = () => {
    for (const listener of [...listeners]) listener();
  };
  const keep = (seq: number, found: Message | undefined) => {
    kept.set(seq, (found && changed(found, changes.get(seq))) ?? "missing");
    tell();
  };
  return {
    get: (seq) => room.messages.get().items.find((message) => message.seq === seq) ?? kept.get(seq),
    ask: (seq) => {
      if (asked.has(seq)) return;
      asked.add(seq);
      read(seq).then(
        (found) => keep(seq, found),
        () => {
          // Whoever shows it next asks again.
          asked.delete(seq);
          keep(seq, undefined);
        },
      );
    },
    subscribe: (listener) => {
      const stop = room.messages.subscribe(listener);
      listeners.add(listener);
      return () => {
        stop();
        listeners.delete(listener);
      };
    },
    hear: (event) => {
      if (event.room !== room.id || !/^message:(edited|deleted|void)$/.test(event.type)) return;
      const { target } = event as { target: number };
      changes.set(target, event);
      const found = kept.get(target);
      if (found && found !== "missing") keep(target, found);
    },
    forget: () => {
      kept.clear();
      asked.clear();
      changes.clear();
      tell();
    },
  };
}

/** What is shown of a message after a change of it; nothing where that took it away. */
function changed(message: Message, event: LogEvent | undefined): Message | undefined {
  if (!event || event.seq <= message.lastSeq) return message;
  if (event.type === "message:void") return undefined;
  const lastSeq = event.seq;
  return event.type === "message:edited"
    ? { ...message, content: event.content, lastSeq }
    : { ...message, content: "", attachments: [], deleted: true, lastSeq };
}
