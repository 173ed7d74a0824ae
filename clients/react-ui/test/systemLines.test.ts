import type { SystemEvent } from "@tidings/client";
import { describe, expect, it } from "vitest";
import { displayName } from "../src/logic/names.js";
import { importedAt, originalTime } from "../src/logic/originalTime.js";
import { isSystemEvent, systemLines } from "../src/logic/systemLines.js";

let seq = 0;
const base = () => ({ room: "r", seq: ++seq, at: "2026-01-15T12:00:00Z" });
const added = (user: string, by = user): SystemEvent => ({
  ...base(),
  type: "member:added",
  user,
  role: "member",
  by,
});
const removed = (user: string, by = user): SystemEvent => ({ ...base(), type: "member:removed", user, by });
const changed = (user: string, role: string, by: string): SystemEvent => ({
  ...base(),
  type: "member:changed",
  user,
  role,
  by,
});
const updated = (change: object, by = "ada"): SystemEvent => ({
  ...base(),
  type: "room:updated",
  by,
  ...change,
});
const lines = (...events: SystemEvent[]) => systemLines(events, displayName, "me");

describe("the lines of events", () => {
  it("name who joined, was added, left and was removed, and by whom", () => {
    expect(lines(added("bo"), added("cy", "ada"), removed("bo"), removed("cy", "ada"))).toEqual([
      "Bo joined",
      "Ada added Cy",
      "Bo left",
      "Ada removed Cy",
    ]);
  });

  it("group consecutive events of one kind", () => {
    expect(lines(added("ann"), added("ben"), added("cy"), added("di"), added("ed"))).toEqual([
      "Ann, Ben and 3 others joined",
    ]);
    expect(lines(added("bo", "ada"), added("cy", "ada"), added("di", "ed"))).toEqual([
      "Ada added Bo and Cy",
      "Ed added Di",
    ]);
  });

  it("have one line for all joins and one for all leaves of a run, whatever their order", () => {
    const run = ["a", "b", "c", "d", "e"].flatMap((user) => [added(user), removed(`${user}x`)]);
    expect(lines(...run)).toEqual(["A, B and 3 others joined", "Ax, Bx and 3 others left"]);
    expect(lines(added("bo"), removed("bo"), added("bo"))).toEqual(["Bo joined"]);
    expect(lines(added("bo"), removed("cy"), removed("bo"), added("cy"))).toEqual([
      "Bo joined and left",
      "Cy left and came back",
    ]);
    expect(lines(removed("me"), added("bo", "ada"), added("me"))).toEqual([
      "You left",
      "Ada added Bo",
      "You joined",
    ]);
  });

  it("call the user you", () => {
    expect(lines(added("me"), added("bo", "me"), added("me", "ada"), removed("me", "ada"))).toEqual([
      "You joined",
      "You added Bo",
      "Ada added you",
      "Ada removed you",
    ]);
  });

  it("name new roles", () => {
    expect(lines(changed("bo", "admin", "ada"), changed("cy", "admin", "ada"))).toEqual([
      "Ada made Bo and Cy admins",
    ]);
    expect(lines(changed("me", "guest", "ada"), changed("me", "member", "me"))).toEqual([
      "Ada made you a guest",
      "You made yourself a member",
    ]);
    expect(lines(changed("bo", "cook", "ada"))).toEqual(["Ada changed the role of Bo to “cook”"]);
  });

  it("tell each change of the room", () => {
    expect(lines(updated({ name: "Larder", archived: true }))).toEqual([
      "Ada renamed the room to “Larder”",
      "Ada archived the room",
    ]);
    expect(lines(updated({ name: "" }), updated({ archived: false }, "me"))).toEqual([
      "Ada removed the name of the room",
      "You unarchived the room",
    ]);
    expect(lines(updated({ slow_mode_s: 1 }), updated({ slow_mode_s: 0 }))).toEqual([
      "Ada turned on slow mode: one message in 1 second",
      "Ada turned off slow mode",
    ]);
    expect(lines(updated({ metadata: { description: "For tea" } }), updated({ metadata: {} }))).toEqual([
      "Ada changed the description to “For tea”",
      "Ada changed the settings of the room",
    ]);
    expect(lines(updated({ metadata: { description: "x".repeat(500) } }))[0]).toHaveLength(154);
  });

  it("exist only for changes of members and of the room", () => {
    expect(isSystemEvent(added("bo"))).toBe(true);
    expect(isSystemEvent(updated({ name: "x" }))).toBe(true);
    expect(isSystemEvent({ ...base(), type: "void" })).toBe(false);
  });
});

describe("the time of an imported message", () => {
  it("is the original time, if the import knows it", () => {
    const at = "2019-05-04T12:00:00Z";
    expect(originalTime({ at: 7, metadata: { imported: { id: 1, at } } })).toBe(Date.parse(at));
    expect(originalTime({ at: 7, metadata: { imported: { id: 1 } } })).toBe(7);
    expect(originalTime({ at: 7 })).toBe(7);
    expect(importedAt({ imported: { at: "yesterday" } })).toBeUndefined();
    expect(importedAt({ imported: null })).toBeUndefined();
  });
});
