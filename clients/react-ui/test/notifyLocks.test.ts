// @vitest-environment jsdom
// Which tab of a browser shows a notification.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { claimNotification, markVisible } from "../src/state/notifyLocks.js";
import { BrowserLocks } from "./browserLocks.js";

/** Gives the page these locks; undefined for a browser without locks. */
const stubLocks = (locks: unknown) =>
  vi.stubGlobal("navigator", Object.create(navigator, { locks: { value: locks } }));

const setHidden = (isHidden: boolean) => {
  vi.spyOn(document, "hidden", "get").mockReturnValue(isHidden);
  document.dispatchEvent(new Event("visibilitychange"));
};

beforeEach(() => {
  vi.useFakeTimers();
  stubLocks(new BrowserLocks());
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

test("one of two tabs claims a message, and keeps the claim until the other tab has the message", async () => {
  const claim = (seq: number) => claimNotification("alice", "kitchen", seq);
  expect((await Promise.all([claim(1), claim(1)])).sort()).toEqual([false, true]);
  expect(await claim(2)).toBe(true);
  await vi.advanceTimersByTimeAsync(29_000);
  expect(await claim(1)).toBe(false);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(await claim(1)).toBe(true);
});

test("no tab claims a message of a user who looks at another tab", async () => {
  setHidden(false);
  const endMark = markVisible("alice");
  await vi.advanceTimersByTimeAsync(0);
  expect(await claimNotification("alice", "kitchen", 1)).toBe(false);
  expect(await claimNotification("bob", "kitchen", 1)).toBe(true);
  setHidden(true);
  await vi.advanceTimersByTimeAsync(0);
  expect(await claimNotification("alice", "kitchen", 2)).toBe(true);
  setHidden(false);
  await vi.advanceTimersByTimeAsync(0);
  expect(await claimNotification("alice", "kitchen", 3)).toBe(false);
  endMark();
  await vi.advanceTimersByTimeAsync(0);
  expect(await claimNotification("alice", "kitchen", 3)).toBe(true);
});

test.each([
  ["has no locks", undefined],
  ["forbids locks", { query: () => Promise.reject(new Error("forbidden")), request: () => Promise.reject() }],
])("each tab acts alone in a browser that %s", async (_, locks) => {
  stubLocks(locks);
  const endMark = markVisible("alice");
  expect(await claimNotification("alice", "kitchen", 1)).toBe(true);
  expect(await claimNotification("alice", "kitchen", 1)).toBe(true);
  endMark();
});
