import type { SystemEvent } from "@tidings/client";
import { describe, expect, it } from "vitest";
import { buildRows, isMessageKey, type Row } from "../src/logic/rows.js";
import { bo, me, message } from "./message.js";

const NO_OPTIONS = { hasOlder: false, readUpTo: undefined };
const shape = (rows: readonly Row[]) =>
  rows.map((row) =>
    row.type === "message"
      ? `${row.message.seq}${row.first ? " first" : ""}${row.last ? " last" : ""}`
      : row.type,
  );

describe("rows", () => {
  it("begin with the start of the room, or with the row for older messages", () => {
    expect(shape(buildRows([], NO_OPTIONS))).toEqual(["start"]);
    expect(shape(buildRows([], { ...NO_OPTIONS, hasOlder: true }))).toEqual(["older"]);
  });

  it("put messages of one user within a few minutes into one run", () => {
    const late = message(4).at + 6 * 60_000;
    const rows = buildRows(
      [message(1), message(2), message(3, { sender: bo }), message(4, { at: late })],
      NO_OPTIONS,
    );
    expect(shape(rows)).toEqual(["start", "day", "1 first", "2 last", "3 first last", "4 first last"]);
    const apart = buildRows([message(1), message(2, { at: late })], NO_OPTIONS);
    expect(shape(apart)).toEqual(["start", "day", "1 first last", "2 first last"]);
  });

  it("keep private and public messages in separate runs", () => {
    const secret = message(2, { visibleTo: { users: ["bo"], roles: [] } });
    expect(shape(buildRows([message(1), secret], NO_OPTIONS))).toEqual([
      "start",
      "day",
      "1 first last",
      "2 first last",
    ]);
  });

  it("separate days by the local clock, and have unique keys", () => {
    const evening = new Date(2026, 0, 15, 23, 59, 50).getTime();
    const rows = buildRows(
      [
        message(1, { at: evening }),
        message(2, { at: evening + 20_000 }),
        message(3, { at: evening }),
        message(4, { at: evening + 20_000 }),
      ],
      NO_OPTIONS,
    );
    expect(shape(rows).filter((one) => one === "day")).toHaveLength(4);
    expect(new Set(rows.map((row) => row.key)).size).toBe(rows.length);
  });

  it("have a divider above the first unread message of another user", () => {
    const all = [
      message(5),
      message(6, { sender: me }),
      message(7),
      message(8, { deleted: true }),
      message(9, { sender: bo }),
    ];
    const rows = buildRows(all, { hasOlder: false, readUpTo: 5 });
    expect(shape(rows)).toEqual([
      "start",
      "day",
      "5 first last",
      "6 first last",
      "unread",
      "7 first",
      "8 last",
      "9 first last",
    ]);
  });

  it("have no divider when all is read, when only own messages are new, or before the mark is known", () => {
    const all = [message(5), message(6, { sender: me }), message(undefined, { sender: me })];
    for (const readUpTo of [5, 6, 99, undefined]) {
      expect(shape(buildRows(all, { hasOlder: false, readUpTo })), String(readUpTo)).not.toContain("unread");
    }
  });

  it("have message keys that differ from all other keys, whatever the user id is", () => {
    const rows = buildRows([message(1, { sender: { id: "unread" } })], { hasOlder: true, readUpTo: 0 });
    const kinds = rows.map((row) => [row.type, isMessageKey(row.key)]);
    expect(kinds).toEqual([
      ["older", false],
      ["day", false],
      ["unread", false],
      ["message", true],
    ]);
  });
});

describe("rows of events", () => {
  const joined = (seq: number, at = message(seq).at): SystemEvent => ({
    type: "member:added",
    room: "r",
    seq,
    at: new Date(at).toISOString(),
    user: `u${seq}`,
    role: "member",
    by: `u${seq}`,
  });

  it("are between the messages, one for consecutive events, and end a run", () => {
    const rows = buildRows([message(1), message(4), message(undefined, { sender: me })], {
      ...NO_OPTIONS,
      events: [joined(2), joined(3), joined(5)],
    });
    const first = ["start", "day", "1 first last", "system", "4 first last", "system"];
    expect(shape(rows)).toEqual([...first, "undefined first last"]);
    expect(rows.map((row) => (row.type === "system" ? row.events.map(({ seq }) => seq) : []))).toEqual([
      [],
      [],
      [],
      [2, 3],
      [],
      [5],
      [],
    ]);
  });

  it("are only those of the loaded part of the log", () => {
    const events = [joined(2), joined(4), joined(6)];
    const partly = { ...NO_OPTIONS, hasOlder: true, events };
    expect(shape(buildRows([message(3), message(5)], { ...partly, hasNewer: true }))).toEqual([
      "older",
      "day",
      "3 first last",
      "system",
      "5 first last",
      "newer",
    ]);
    expect(shape(buildRows([], partly))).toEqual(["older"]);
    expect(shape(buildRows([], { ...NO_OPTIONS, events }))).toEqual(["start", "day", "system"]);
  });

  it("of different days are separate", () => {
    const rows = buildRows([], {
      ...NO_OPTIONS,
      events: [joined(1), joined(2, new Date(2026, 0, 16, 9).getTime())],
    });
    expect(shape(rows)).toEqual(["start", "day", "system", "day", "system"]);
  });

  it("are not messages, and do not move the unread divider", () => {
    const rows = buildRows([message(1), message(3)], { ...NO_OPTIONS, readUpTo: 1, events: [joined(2)] });
    expect(shape(rows)).toEqual(["start", "day", "1 first last", "system", "unread", "3 first last"]);
    expect(rows.filter((row) => isMessageKey(row.key))).toHaveLength(2);
  });
});

describe("rows of imported messages", () => {
  it("have the days and runs of the original times", () => {
    const imported = (at: string) => ({ metadata: { imported: { id: 1, at } } });
    const rows = buildRows(
      [
        message(1, imported("2019-05-04T12:00:00Z")),
        message(2, imported("2019-05-04T12:01:00Z")),
        message(3, imported("2019-06-04T12:00:00Z")),
        message(4),
      ],
      NO_OPTIONS,
    );
    expect(shape(rows)).toEqual([
      "start",
      "day",
      "1 first",
      "2 last",
      "day",
      "3 first last",
      "day",
      "4 first last",
    ]);
  });
});
