import { describe, expect, it } from "vitest";
import { buildRows, isMessageKey, type Row } from "../src/logic/rows.ts";
import { bo, me, message } from "./message.ts";

const none = { hasOlder: false, readUpTo: undefined };
const shape = (rows: readonly Row[]) =>
  rows.map((row) =>
    row.type === "message"
      ? `${row.message.seq}${row.first ? " first" : ""}${row.last ? " last" : ""}`
      : row.type,
  );

describe("rows", () => {
  it("begin with the start of the room, or with the row for older messages", () => {
    expect(shape(buildRows([], none))).toEqual(["start"]);
    expect(shape(buildRows([], { ...none, hasOlder: true }))).toEqual(["older"]);
  });

  it("put messages of one user within a few minutes into one run", () => {
    const late = message(4).at + 6 * 60_000;
    const rows = buildRows(
      [message(1), message(2), message(3, { sender: bo }), message(4, { at: late })],
      none,
    );
    expect(shape(rows)).toEqual(["start", "day", "1 first", "2 last", "3 first last", "4 first last"]);
    const apart = buildRows([message(1), message(2, { at: late })], none);
    expect(shape(apart)).toEqual(["start", "day", "1 first last", "2 first last"]);
  });

  it("keep private and public messages in separate runs", () => {
    const secret = message(2, { visibleTo: { users: ["bo"], roles: [] } });
    expect(shape(buildRows([message(1), secret], none))).toEqual([
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
      none,
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
