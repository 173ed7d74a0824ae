import { expect, test } from "vitest";
import { originPicker } from "../src/state/server.ts";

const ORIGINS = ["http://a", "http://b", "http://c"];

test("each attempt goes to the next one", () => {
  const pick = originPicker(ORIGINS, "", () => 0.5);
  expect([pick(), pick(), pick(), pick()]).toEqual(["http://b", "http://c", "http://a", "http://b"]);
});

test("a page that names a gateway keeps to it", () => {
  const pick = originPicker(ORIGINS, "?gateway=2", () => 0);
  expect([pick(), pick()]).toEqual(["http://c", "http://c"]);
});

test("without a gateway there is nothing to pick, and it is said", () => {
  expect(originPicker([], "")).toThrow("names no gateway");
});
