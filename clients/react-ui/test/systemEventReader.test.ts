// Reads of the log beside the messages: how far they go, and where the next one continues.
import type { TidingsClientLike } from "@tidings/client";
import { expect, test, vi } from "vitest";
import { createSystemEventReader, type ReadRange } from "../src/room/systemEventReader.js";

/** A reader of a log with `length` positions, whose pages span `pageSize` positions each. */
function createReader(length: number, pageSize: number, known?: ReadRange) {
  const starts: number[] = [];
  const http = async (_method: string, path: string) => {
    const after = Number(/after=(\d+)/.exec(path)?.[1]);
    starts.push(after);
    const seq = Math.min(after + pageSize, length);
    return { events: [], next: { epoch: "1", seq }, more: seq < length };
  };
  const ranges: (ReadRange | undefined)[] = [];
  const want = createSystemEventReader({
    client: { http } as unknown as TidingsClientLike,
    room: "r",
    known,
    onRead: (_events, range) => range && ranges.push(range),
    signal: new AbortController().signal,
  });
  /** Reads a range. Returns where the pages started, and the range that is then read. */
  const read = async (start: number, end?: number) => {
    const { length: before } = ranges;
    starts.length = 0;
    want({ start, end });
    await vi.waitFor(() => expect(ranges.length).toBeGreaterThan(before));
    return [[...starts], ranges.at(-1)] as const;
  };
  return read;
}

test("small pages are followed up to the end of the log", async () => {
  const read = createReader(1_500, 50);
  const [starts, range] = await read(0);
  expect([starts.length, range]).toEqual([30, { from: 0, to: 1_500 }]);
  expect(await read(0)).toEqual([[], { from: 0, to: 1_500 }]);
});

test("a long read ends at its limit, and the next one continues there", async () => {
  for (const end of [undefined, 4_900]) {
    const read = createReader(5_000, 200);
    expect((await read(0, end))[1]).toEqual({ from: 0, to: 2_000 });
    const [starts, range] = await read(0, end);
    expect([starts[0], range]).toEqual([2_000, { from: 0, to: 4_000 }]);
    expect((await read(0, end))[1]?.to).toBeGreaterThanOrEqual(end ?? 5_000);
  }
});

test("an incomplete read of earlier positions leaves no hole", async () => {
  const read = createReader(9_000, 200, { from: 8_000, to: 9_000 });
  expect((await read(1_000, 9_000))[1]).toEqual({ from: 1_000, to: 5_000 });
  expect((await read(1_000, 9_000))[1]).toEqual({ from: 1_000, to: 7_000 });
});

test("a page that leads no further ends the read", async () => {
  expect(await createReader(100, 0)(0)).toEqual([[0], { from: 0, to: 0 }]);
});
