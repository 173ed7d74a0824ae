// @vitest-environment jsdom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ReadTracker } from "../src/readTracker.js";
import { page, Sight } from "./sight.js";

let restore: () => void;
let marks: number[];
let tracker: ReadTracker;

beforeEach(() => {
  vi.useFakeTimers();
  restore = Sight.install();
  marks = [];
  tracker = new ReadTracker((seq) => marks.push(seq));
});

afterEach(() => {
  tracker.stop();
  restore();
  page("visible");
  vi.useRealTimers();
});

const element = () => document.createElement("p");
const pause = () => vi.advanceTimersByTime(500);

test("elements that were there before it began are looked at", () => {
  const row = element();
  tracker.ref(3)(row);
  expect(Sight.observed).toBe(0);
  tracker.start();
  Sight.show([row]);
  pause();
  expect(marks).toEqual([3]);
});

test("an element that goes is not looked at any more, the others are", () => {
  tracker.start();
  const ref = tracker.ref(1);
  ref(element());
  tracker.ref(2)(element());
  expect(Sight.observed).toBe(2);
  ref(null);
  expect(Sight.observed).toBe(1);
  tracker.stop();
  tracker.start();
  expect(Sight.observed).toBe(1);
});

test("once stopped it looks at nothing, though elements are there, and may begin again", () => {
  const row = element();
  tracker.start();
  tracker.ref(4)(row);
  Sight.show([row]);
  tracker.stop();
  expect(Sight.observed).toBe(0);
  pause();
  expect(marks).toEqual([]);
  tracker.start();
  Sight.show([row]);
  pause();
  expect(marks).toEqual([4]);
});

test("an element in sight that is given to another message is not seen again until it is told so", () => {
  const row = element();
  tracker.start();
  const three = tracker.ref(3);
  three(row);
  Sight.show([row]);
  pause();
  three(null);
  tracker.ref(9)(row);
  const other = element();
  tracker.ref(5)(other);
  Sight.show([other]);
  pause();
  expect(marks).toEqual([3, 5]);
});

test("a page that is hidden before the pause is over has read nothing", () => {
  const row = element();
  tracker.start();
  tracker.ref(3)(row);
  Sight.show([row]);
  page("hidden");
  pause();
  expect(marks).toEqual([]);
  page("visible");
  pause();
  expect(marks).toEqual([3]);
});

test("marks move up only, and many in one moment are one", () => {
  const rows = [1, 2, 3, 4, 5].map((seq) => {
    const row = element();
    tracker.ref(seq)(row);
    return row;
  });
  tracker.start();
  for (const row of rows.slice(0, 4)) Sight.show([row]);
  pause();
  Sight.show(rows.slice(3), 0);
  Sight.show(rows.slice(0, 2));
  pause();
  expect(marks).toEqual([4]);
  // Gone again before the pause is over: what is still in sight stands below what is read.
  Sight.show(rows.slice(4));
  Sight.show(rows.slice(4), 0);
  pause();
  expect(marks).toEqual([4]);
  Sight.show(rows.slice(4));
  pause();
  expect(marks).toEqual([4, 5]);
});
