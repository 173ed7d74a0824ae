import type { ClientEvents, Message } from "@tidings/client";
import { describe, expect, it, vi } from "vitest";
import { makeQuotes } from "../src/room/quotes.ts";
import { message } from "./message.ts";

const change = (type: string, target: number, seq: number, more = {}) =>
  ({ type, room: "r", target, seq, target_id: "m", by: "ada", at: "", ...more }) as ClientEvents["event"];

/** The quotes of a room that holds these messages; what is not held is read when `answer` says so. */
function quotes(held: readonly Message[]) {
  let items = held;
  const listeners = new Set<() => void>();
  const messages = {
    get: () => ({ items, hasOlder: true, loadingOlder: false }),
    subscribe: (listener: () => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  const answers: ((found?: Message) => void)[] = [];
  const read = vi.fn((_seq: number) => new Promise<Message | undefined>((answer) => answers.push(answer)));
  const made = makeQuotes({ id: "r", messages }, read);
  const told = vi.fn();
  made.subscribe(told);
  return {
    ...made,
    read,
    told,
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
  it("of a message that is held are what it is now", () => {
    const all = quotes([message(1)]);
    expect(all.get(1)).toMatchObject({ content: "message 1" });
    all.hold([message(1, { content: "", deleted: true })]);
    expect(all.told).toHaveBeenCalled();
    expect(all.get(1)).toMatchObject({ content: "", deleted: true });
  });

  it("of a message that was read follow its changes", async () => {
    const all = quotes([]);
    all.ask(1);
    all.ask(1);
    expect(all.get(1)).toBeUndefined();
    await all.answer(message(1));
    expect(all.read).toHaveBeenCalledOnce();
    all.hear(change("message:edited", 1, 5, { content: "better" }));
    expect(all.get(1)).toMatchObject({ content: "better" });
    all.hear(change("reaction:added", 1, 6, { emoji: "👍" }));
    all.hear({ ...change("message:deleted", 1, 7), room: "other" });
    expect(all.get(1)).toMatchObject({ content: "better" });
    all.hear(change("message:deleted", 1, 8));
    expect(all.get(1)).toMatchObject({ content: "", deleted: true });
  });

  it("show no words that were taken away while they were read", async () => {
    const all = quotes([]);
    all.ask(1);
    all.ask(2);
    all.hear(change("message:deleted", 1, 8));
    all.hear(change("message:void", 2, 9));
    await all.answer(message(1));
    await all.answer(message(2));
    expect(all.get(1)).toMatchObject({ content: "", deleted: true });
    expect(all.get(2)).toBe("missing");
    // What was read after the change has it already.
    all.forget();
    all.ask(1);
    await all.answer(message(1, { content: "as stored", lastSeq: 8 }));
    expect(all.get(1)).toMatchObject({ content: "as stored" });
  });

  it("that are not to be seen are missing, until they are asked for again", async () => {
    const all = quotes([]);
    all.ask(1);
    await all.answer();
    expect(all.get(1)).toBe("missing");
    all.forget();
    expect(all.get(1)).toBeUndefined();
    all.ask(1);
    await all.answer(message(1));
    expect(all.get(1)).toMatchObject({ content: "message 1" });
  });
});
