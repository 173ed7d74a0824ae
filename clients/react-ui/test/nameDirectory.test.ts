import type { TidingsClientLike } from "@tidings/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { namesOf } from "../src/state/names.js";

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const userOf = (n: number) => `user-${n}`;
const users = (count: number) => Array.from({ length: count }, (_, n) => userOf(n));

/** A directory whose requests are counted. All of them find their user. */
function directory() {
  const asked: string[] = [];
  const http = async (_method: string, path: string) => {
    const user = new URLSearchParams(path.split("?")[1]).get("query") ?? "";
    asked.push(user);
    return { people: [{ user, name: `Name of ${user}`, picture: null }] };
  };
  const client = { me: { get: () => ({ id: "me" }) }, http } as unknown as TidingsClientLike;
  return { asked, names: namesOf(client) };
}

test("look-ups after an event wait by the number of members", async () => {
  const { asked, names } = directory();
  names.eventArrived("r");
  names.lookUp("r", users(20), 10_000);
  await vi.advanceTimersByTimeAsync(24_000);
  expect(asked).toEqual([]);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(asked).toEqual([userOf(0)]);
  await vi.advanceTimersByTimeAsync(19 * 25_000);
  expect(asked).toEqual(users(20));
  expect(names.nameOf(userOf(19))).toBe("Name of user-19");
});

test("look-ups of older messages do not wait, and go before the others", async () => {
  const { asked, names } = directory();
  names.eventArrived("r");
  names.lookUp("r", ["live"], 10_000);
  await vi.advanceTimersByTimeAsync(3_000);
  names.lookUp("r", users(3), 10_000);
  await vi.advanceTimersByTimeAsync(10);
  expect(asked).toEqual(users(3));
  await vi.advanceTimersByTimeAsync(25_000);
  expect(asked).toEqual([...users(3), "live"]);
});

test("look-ups that nobody wants any more are dropped", async () => {
  const { asked, names } = directory();
  names.eventArrived("r");
  const release = names.lookUp("r", ["a", "b"], 10_000);
  names.lookUp("r", ["b"], 10_000);
  release();
  await vi.advanceTimersByTimeAsync(600_000);
  expect(asked).toEqual(["b"]);
});

test("a look-up that is wanted again keeps its wait", async () => {
  const { asked, names } = directory();
  names.eventArrived("r");
  const release = names.lookUp("r", ["a"], 10_000);
  await vi.advanceTimersByTimeAsync(10_000);
  release();
  names.lookUp("r", ["a"], 10_000);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked).toEqual([]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked).toEqual(["a"]);
});

test("the queue of look-ups is bounded", async () => {
  const { asked, names } = directory();
  names.lookUp("r", users(1_000), 10_000);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked).toEqual(users(1_000).slice(-200));
});
