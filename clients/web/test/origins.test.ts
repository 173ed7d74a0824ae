import { expect, test } from "vitest";
import { createOriginPicker } from "../src/state/server.ts";

const ORIGINS = ["http://a", "http://b", "http://c"];

test("each attempt uses the next server", () => {
  const pick = createOriginPicker(ORIGINS, "", () => 0.5);
  expect([pick(), pick(), pick(), pick()]).toEqual(["http://b", "http://c", "http://a", "http://b"]);
});

test("a gateway in the address is used for every attempt", () => {
  const pick = createOriginPicker(ORIGINS, "?gateway=2", () => 0);
  expect([pick(), pick()]).toEqual(["http://c", "http://c"]);
});

test("the picker throws an error when there is no gateway", () => {
  expect(createOriginPicker([], "")).toThrow("did not name a gateway");
});
