import type { ClientEvents, Message } from "@tidings/client";
import { describe, expect, it, vi } from "vitest";
import { createQuotes } from "../src/room/quotes.js";
import { message } from "./message.js";

const changeEvent = (type: string, target: number, seq: number, more = {}) =>
  ({ type, room: "r", target, seq, target_id: "m", by: "ada", at: "", ...more }) as ClientEvents["event"];

/** The quotes of a room with these messages in its list. Other messages are loaded when the test calls `answer`. */
function quotes(loaded: readonly Message[]) {
  let items = loaded;
  const listeners = new Set<() => void>();
  const messages = {
    get: () => ({
      items,
      hasOlder: true,
      loadingOlder: false,
      hasNewer: false,
      loadingNewer: false,
      systemEvents: [],
    }),
    subscribe: (listener: () => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  const answers: ((found?: Message) => void)[] = [];
  const read = vi.fn((_seq: number) => new Promise<Message | undefined>((answer) => answers.push(answer)));
  const created = createQuotes({ id: "r", messages }, read);
  const listener = vi.fn();
  created.subscribe(listener);
  return {
    ...created,
    read,
    listener,
    hold: (next: readonly Message[]) => {
      items = next;
      for (const listener of listeners) listener();
    },
    answer: async (found?: Message) => {
      answers.shift()?.(found);
      await Promise.resolve();
    },
  };
}

describe("quotes", () => {
  it("show the current state of a message in the list", () => {
    const all = quotes([message(1)]);
    expect(all.get(1)).toMatchObject({ content: "message 1" });
    all.hold([message(1, { content: "", deleted: true })]);
    expect(all.listener).toHaveBeenCalled();
    expect(all.get(1)).toMatchObject({ content: "", deleted: true });
  });

  it("follow the changes of a loaded message", async () => {
    const all = quotes([]);
    all.load(1);
    all.load(1);
    expect(all.get(1)).toBeUndefined();
    await all.answer(message(1));
    expect(all.read).toHaveBeenCalledOnce();
    all.applyEvent(changeEvent("message:edited", 1, 5, { content: "better" }));
    expect(all.get(1)).toMatchObject({ content: "better" });
    all.applyEvent(changeEvent("reaction:added", 1, 6, { emoji: "👍" }));
    all.applyEvent({ ...changeEvent("message:deleted", 1, 7), room: "other" });
    expect(all.get(1)).toMatchObject({ content: "better" });
    all.applyEvent(changeEvent("message:deleted", 1, 8));
    expect(all.get(1)).toMatchObject({ content: "", deleted: true });
  });

  it("show no text that was deleted while the message was loading", async () => {
    const all = quotes([]);
    all.load(1);
    all.load(2);
    all.applyEvent(changeEvent("message:deleted", 1, 8));
    all.applyEvent(changeEvent("message:void", 2, 9));
    await all.answer(message(1));
    await all.answer(message(2));
    expect(all.get(1)).toMatchObject({ content: "", deleted: true });
    expect(all.get(2)).toBe("missing");
    // A message that is loaded after the change already contains it.
    all.clear();
    all.load(1);
    await all.answer(message(1, { content: "as stored", lastSeq: 8 }));
    expect(all.get(1)).toMatchObject({ content: "as stored" });
  });

  it("of invisible messages are missing until they are loaded again", async () => {
    const all = quotes([]);
    all.load(1);
    await all.answer();
    expect(all.get(1)).toBe("missing");
    all.clear();
    expect(all.get(1)).toBeUndefined();
    all.load(1);
    await all.answer(message(1));
    expect(all.get(1)).toMatchObject({ content: "message 1" });
  });
});
