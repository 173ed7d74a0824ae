import { beforeEach, describe, expect, it } from "vitest";
import { RowOffsets } from "../src/logic/offsets.js";
import { ScrollPosition } from "../src/room/scrollPosition.js";

const keys = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `k${from + index}`);

describe("row offsets", () => {
  it("add measured heights, and estimates for the other rows", () => {
    const offsets = new RowOffsets(["a", "b", "c"], new Map([["b", 30]]), 10);
    expect([offsets.top(0), offsets.top(1), offsets.top(2), offsets.total]).toEqual([0, 10, 40, 50]);
    expect(offsets.height(1)).toBe(30);
  });

  it("find the row at a position, also outside the list", () => {
    const offsets = new RowOffsets(keys(0, 100), new Map(), 10);
    expect([-5, 0, 9.9, 10, 555, 9999].map((position) => offsets.indexAt(position))).toEqual([
      0, 0, 0, 1, 55, 99,
    ]);
    expect(new RowOffsets([], new Map(), 10).range(0, 100, 10)).toEqual({ start: 0, end: 0 });
  });
});

describe("the scroll position of a list", () => {
  let position: ScrollPosition;
  const topRow = () => {
    const { offsets, scrollTop } = position;
    const index = offsets.indexAt(scrollTop + 1);
    return { key: offsets.keys[index], above: scrollTop - offsets.top(index) };
  };

  beforeEach(() => {
    position = new ScrollPosition(keys(1000, 1100), (_, index) => index > 0);
    position.height = 500;
    for (const key of keys(1000, 1100)) position.setHeight(key, 40);
    position.offsets.recompute();
  });

  it("is the end at first, and stays there when rows are added below or grow", () => {
    expect([position.atEnd, position.scrollTop]).toEqual([true, 100 * 40 - 500]);
    position.setKeys(keys(1000, 1101));
    position.setHeight("k1100", 90);
    position.offsets.recompute();
    expect(position.scrollTop).toBe(100 * 40 + 90 - 500);
  });

  it("does not move visible rows when older rows are added above", () => {
    position.scrolledTo(123);
    const before = topRow();
    position.setKeys(keys(900, 1100));
    expect(topRow()).toEqual(before);
  });

  it("does not move visible rows when rows above get another measured height", () => {
    position.scrolledTo(2000);
    const before = topRow();
    position.setHeight("k1003", 400);
    position.setHeight("k1004", 11);
    position.offsets.recompute();
    expect(topRow()).toEqual(before);
  });

  it("does not go to the end for new rows while the user reads further up", () => {
    position.scrolledTo(1000);
    position.setKeys(keys(1000, 1150));
    expect([position.scrollTop, position.atEnd]).toEqual([1000, false]);
  });

  it("is anchored to a measured row when the rows above were never measured", () => {
    position.scrolledTo(600);
    position.setKeys(keys(900, 1100));
    const top = () => position.offsets.top(position.offsets.indexOf("k1001") ?? 0) - position.scrollTop;
    position.scrolledTo(100 * 56 - 300);
    const before = top();
    for (const key of keys(990, 1000)) position.setHeight(key, 38);
    position.offsets.recompute();
    expect(top()).toBe(before);
  });

  it("is anchored to the next row when the anchor row is removed", () => {
    position.scrolledTo(1000);
    const { key } = topRow();
    position.setKeys(keys(1000, 1100).filter((one) => one !== key));
    expect(position.scrollTop).toBe(1000 - 40);
  });

  it("scrolls a row to the middle, as far as the list reaches", () => {
    position.scrollToRow("k1050");
    expect(position.scrollTop).toBe(50 * 40 - (500 - 40) / 2);
    position.scrollToRow("k1001");
    expect(position.scrollTop).toBe(0);
  });

  it("is the end again after the list settles there", () => {
    position.scrollToRow("k1099");
    expect(position.atEnd).toBe(false);
    position.settleAtEnd();
    expect(position.atEnd).toBe(true);
  });

  it("renders a bounded number of rows of a list of any length", () => {
    position.setKeys(keys(0, 100_000));
    position.scrolledTo(1_000_000);
    const { start, end } = position.range();
    expect(end - start).toBeLessThan(100);
    expect(position.covers({ start, end })).toBe(true);
    expect(position.covers({ start: start + 40, end })).toBe(false);
  });
});
