import type { ClientEvents, Message, Room } from "@tidings/client";

type LogEvent = ClientEvents["event"];

/** A quoted message: undefined until it is loaded, `missing` when the user cannot see it. */
type QuotedMessage = Message | "missing" | undefined;

/** The quoted messages of a room in their current state. */
export interface Quotes {
  readonly get: (seq: number) => QuotedMessage;
  /** Loads a message, unless the message was requested already. */
  readonly load: (seq: number) => void;
  readonly subscribe: (listener: () => void) => () => void;
  /** Updates a loaded message with an event. */
  readonly applyEvent: (event: LogEvent) => void;
  /** Drops all loaded messages, because they may be outdated. They will be loaded again. */
  readonly clear: () => void;
}

/** Creates the quotes of a room. `read` loads a message that the room's list does not contain. */
export function createQuotes(
  room: Pick<Room, "id" | "messages">,
  read: (seq: number) => Promise<Message | undefined>,
): Quotes {
  const loaded = new Map<number, Message | "missing">();
  const requested = new Set<number>();
  /** The last change of each message, by seq. HTTP may return a message in its state before this change. */
  const lastChanges = new Map<number, LogEvent>();
  const listeners = new Set<() => void>();
  const notify = () => {
    for (const listener of [...listeners]) listener();
  };
  const store = (seq: number, found: Message | undefined) => {
    loaded.set(seq, (found && applyChange(found, lastChanges.get(seq))) ?? "missing");
    notify();
  };
  return {
    get: (seq) => room.messages.get().items.find((message) => message.seq === seq) ?? loaded.get(seq),
    load: (seq) => {
      if (requested.has(seq)) return;
      requested.add(seq);
      read(seq).then(
        (found) => store(seq, found),
        () => {
          // The next component that shows the quote requests it again.
          requested.delete(seq);
          store(seq, undefined);
        },
      );
    },
    subscribe: (listener) => {
      const unsubscribe = room.messages.subscribe(listener);
      listeners.add(listener);
      return () => {
        unsubscribe();
        listeners.delete(listener);
      };
    },
    applyEvent: (event) => {
      if (event.room !== room.id || !/^message:(edited|deleted|void)$/.test(event.type)) return;
      const { target } = event as { target: number };
      lastChanges.set(target, event);
      const found = loaded.get(target);
      if (found && found !== "missing") store(target, found);
    },
    clear: () => {
      loaded.clear();
      requested.clear();
      lastChanges.clear();
      notify();
    },
  };
}

/** Returns the message after a change, or undefined when the change removed the message. */
function applyChange(message: Message, event: LogEvent | undefined): Message | undefined {
  if (!event || event.seq <= message.lastSeq) return message;
  if (event.type === "message:void") return undefined;
  const lastSeq = event.seq;
  return event.type === "message:edited"
    ? { ...message, content: event.content, lastSeq }
    : { ...message, content: "", attachments: [], deleted: true, lastSeq };
}
