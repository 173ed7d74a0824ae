// @vitest-environment jsdom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ReadTracker } from "../src/readTracker.js";
import { FakeIntersectionObserver, setPageVisibility } from "./fakeIntersectionObserver.js";

let restore: () => void;
let marks: number[];
let tracker: ReadTracker;

beforeEach(() => {
  vi.useFakeTimers();
  restore = FakeIntersectionObserver.install();
  marks = [];
  tracker = new ReadTracker((seq) => marks.push(seq) > 0);
});

afterEach(() => {
  tracker.stop();
  restore();
  setPageVisibility("visible");
  vi.useRealTimers();
});

const element = () => document.createElement("p");
const pause = () => vi.advanceTimersByTime(500);

test("the tracker observes elements that were attached before the start", () => {
  const row = element();
  tracker.ref(3)(row);
  expect(FakeIntersectionObserver.observed).toBe(0);
  tracker.start();
  FakeIntersectionObserver.show([row]);
  pause();
  expect(marks).toEqual([3]);
});

test("the tracker stops to observe a detached element and keeps the others", () => {
  tracker.start();
  const ref = tracker.ref(1);
  ref(element());
  tracker.ref(2)(element());
  expect(FakeIntersectionObserver.observed).toBe(2);
  ref(null);
  expect(FakeIntersectionObserver.observed).toBe(1);
  tracker.stop();
  tracker.start();
  expect(FakeIntersectionObserver.observed).toBe(1);
});

test("a stopped tracker observes nothing, and it can start again", () => {
  const row = element();
  tracker.start();
  tracker.ref(4)(row);
  FakeIntersectionObserver.show([row]);
  tracker.stop();
  expect(FakeIntersectionObserver.observed).toBe(0);
  pause();
  expect(marks).toEqual([]);
  tracker.start();
  FakeIntersectionObserver.show([row]);
  pause();
  expect(marks).toEqual([4]);
});

test("a refused mark is tried again when another message becomes visible", () => {
  const refusing = new ReadTracker((seq) => {
    marks.push(seq);
    return marks.length > 1;
  });
  refusing.start();
  const [high, low] = [element(), element()];
  refusing.ref(9)(high);
  refusing.ref(4)(low);
  FakeIntersectionObserver.show([high]);
  pause();
  FakeIntersectionObserver.show([high], 0);
  FakeIntersectionObserver.show([low]);
  pause();
  expect(marks).toEqual([9, 4]);
  refusing.stop();
});

test("a visible element that is reused for another message needs a new entry of the observer to count", () => {
  const row = element();
  tracker.start();
  const three = tracker.ref(3);
  three(row);
  FakeIntersectionObserver.show([row]);
  pause();
  three(null);
  tracker.ref(9)(row);
  const other = element();
  tracker.ref(5)(other);
  FakeIntersectionObserver.show([other]);
  pause();
  expect(marks).toEqual([3, 5]);
});

test("a page that is hidden during the delay marks nothing as read", () => {
  const row = element();
  tracker.start();
  tracker.ref(3)(row);
  FakeIntersectionObserver.show([row]);
  setPageVisibility("hidden");
  pause();
  expect(marks).toEqual([]);
  setPageVisibility("visible");
  pause();
  expect(marks).toEqual([3]);
});

test("marks only move up, and several within the delay become one", () => {
  const rows = [1, 2, 3, 4, 5].map((seq) => {
    const row = element();
    tracker.ref(seq)(row);
    return row;
  });
  tracker.start();
  for (const row of rows.slice(0, 4)) FakeIntersectionObserver.show([row]);
  pause();
  FakeIntersectionObserver.show(rows.slice(3), 0);
  FakeIntersectionObserver.show(rows.slice(0, 2));
  pause();
  expect(marks).toEqual([4]);
  // The element disappears during the delay, and the elements that are still visible are below the last mark.
  FakeIntersectionObserver.show(rows.slice(4));
  FakeIntersectionObserver.show(rows.slice(4), 0);
  pause();
  expect(marks).toEqual([4]);
  FakeIntersectionObserver.show(rows.slice(4));
  pause();
  expect(marks).toEqual([4, 5]);
});
