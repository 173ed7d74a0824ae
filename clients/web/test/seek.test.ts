import type { Message, MessageList } from "@tidings/client";
import { describe, expect, it } from "vitest";
import { seek } from "../src/room/seek.ts";
import { message } from "./message.ts";

/** A room with messages 1 to 5000. Those from `firstLoaded` on are loaded. */
function room(firstLoaded: number, hole?: number) {
  const list = (from: number): readonly Message[] =>
    Array.from({ length: 5001 - from }, (_, index) => message(from + index)).filter(
      (one) => one.seq !== hole,
    );
  let state: MessageList = { items: list(firstLoaded), hasOlder: firstLoaded > 1, loadingOlder: false };
  let pages = 0;
  return {
    pages: () => pages,
    messages: { get: () => state, subscribe: () => () => {} },
    loadOlder: async (count = 50) => {
      pages += 1;
      const from = Math.max(1, (state.items[0]?.seq ?? 1) - count);
      state = { items: list(from), hasOlder: from > 1, loadingOlder: false };
      return from > 1;
    },
  };
}
const always = () => true;

describe("seeking a message", () => {
  it("finds a loaded message without loading more", async () => {
    const one = room(4901);
    expect(await seek(one, 4950, always)).toMatchObject({ seq: 4950 });
    expect(one.pages()).toBe(0);
  });

  it("loads the messages in between page by page", async () => {
    const one = room(4901);
    expect(await seek(one, 4000, always)).toMatchObject({ seq: 4000 });
    expect(one.pages()).toBe(5);
  });

  it("does not load thousands of messages", async () => {
    const one = room(4901);
    expect(await seek(one, 100, always)).toBe("far");
    expect(one.pages()).toBe(0);
  });

  it("reports a missing message and a failed load, and stops when it is no longer wanted", async () => {
    expect(await seek(room(4901, 4700), 4700, always)).toBe("missing");
    expect(await seek(room(4901, 4950), 4950, always)).toBe("missing");
    const broken = { ...room(4901), loadOlder: () => Promise.reject(new Error("away")) };
    expect(await seek(broken, 4800, always)).toBe("failed");
    const left = room(4901);
    let asked = 0;
    await seek(left, 4000, () => {
      asked += 1;
      return asked < 3;
    });
    expect(left.pages()).toBe(2);
  });
});
