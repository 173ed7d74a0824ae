import { beforeEach, describe, expect, it } from "vitest";
import { Offsets } from "../src/logic/offsets.ts";
import { ScrollPlace } from "../src/room/scrollPlace.ts";

const keys = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `k${from + index}`);

describe("offsets", () => {
  it("add up known heights and guess the others", () => {
    const offsets = new Offsets(["a", "b", "c"], new Map([["b", 30]]), 10);
    expect([offsets.top(0), offsets.top(1), offsets.top(2), offsets.total]).toEqual([0, 10, 40, 50]);
    expect(offsets.height(1)).toBe(30);
  });

  it("find the row at a position, also outside of the list", () => {
    const offsets = new Offsets(keys(0, 100), new Map(), 10);
    expect([-5, 0, 9.9, 10, 555, 9999].map((position) => offsets.at(position))).toEqual([0, 0, 0, 1, 55, 99]);
    expect(new Offsets([], new Map(), 10).range(0, 100, 10)).toEqual({ start: 0, end: 0 });
  });
});

describe("the place of a list", () => {
  let place: ScrollPlace;
  const seen = () => {
    const { offsets, scrollTop } = place;
    const index = offsets.at(scrollTop + 1);
    return { key: offsets.keys[index], above: scrollTop - offsets.top(index) };
  };

  beforeEach(() => {
    place = new ScrollPlace(keys(1000, 1100), (_, index) => index > 0);
    place.height = 500;
    for (const key of keys(1000, 1100)) place.setHeight(key, 40);
    place.offsets.measure();
  });

  it("is the end at first, and stays the end when rows come below or grow", () => {
    expect([place.atEnd, place.scrollTop]).toEqual([true, 100 * 40 - 500]);
    place.setKeys(keys(1000, 1101));
    place.setHeight("k1100", 90);
    place.offsets.measure();
    expect(place.scrollTop).toBe(100 * 40 + 90 - 500);
  });

  it("does not move what is in sight when older rows come above", () => {
    place.scrolledTo(123);
    const before = seen();
    place.setKeys(keys(900, 1100));
    expect(seen()).toEqual(before);
  });

  it("does not move what is in sight when rows above turn out to be higher or lower", () => {
    place.scrolledTo(2000);
    const before = seen();
    place.setHeight("k1003", 400);
    place.setHeight("k1004", 11);
    place.offsets.measure();
    expect(seen()).toEqual(before);
  });

  it("does not go to the end for new rows while one reads above it", () => {
    place.scrolledTo(1000);
    place.setKeys(keys(1000, 1150));
    expect([place.scrollTop, place.atEnd]).toEqual([1000, false]);
  });

  it("holds on to a row whose height is known, when the ones above it were never measured", () => {
    place.scrolledTo(600);
    place.setKeys(keys(900, 1100));
    const top = () => place.offsets.top(place.offsets.indexOf("k1001") ?? 0) - place.scrollTop;
    place.scrolledTo(100 * 56 - 300);
    const before = top();
    for (const key of keys(990, 1000)) place.setHeight(key, 38);
    place.offsets.measure();
    expect(top()).toBe(before);
  });

  it("takes the next row when the one that it holds on to has gone", () => {
    place.scrolledTo(1000);
    const { key } = seen();
    place.setKeys(keys(1000, 1100).filter((one) => one !== key));
    expect(place.scrollTop).toBe(1000 - 40);
  });

  it("brings a row into the middle, as far as the list reaches", () => {
    place.reveal("k1050");
    expect(place.scrollTop).toBe(50 * 40 - (500 - 40) / 2);
    place.reveal("k1001");
    expect(place.scrollTop).toBe(0);
  });

  it("counts as being at the end again once it came to rest there", () => {
    place.reveal("k1099");
    expect(place.atEnd).toBe(false);
    place.rest();
    expect(place.atEnd).toBe(true);
  });

  it("has a bounded number of rows in the page, however long the list", () => {
    place.setKeys(keys(0, 100_000));
    place.scrolledTo(1_000_000);
    const { start, end } = place.range();
    expect(end - start).toBeLessThan(100);
    expect(place.covers({ start, end })).toBe(true);
    expect(place.covers({ start: start + 40, end })).toBe(false);
  });
});
