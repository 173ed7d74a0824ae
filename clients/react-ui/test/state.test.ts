import { describe, expect, it } from "vitest";
import { assignableRoles, mayChange, mayWrite } from "../src/room/permissions.js";
import { parseRoute, routeHash } from "../src/state/route.js";
import { createUnreadMarks } from "../src/state/unreadMarks.js";
import { positionBox } from "../src/ui/position.js";
import { bo, me, message } from "./message.js";

function createStorage() {
  const values = new Map<string, string>();
  return {
    getItem: (key: string) => values.get(key) ?? null,
    setItem: (key: string, value: string) => void values.set(key, value),
  };
}

describe("routes", () => {
  it("do not change when they are converted to a hash and back", () => {
    for (const place of [
      {},
      { room: "a:b.c-d" },
      { room: "r", panel: "members" },
      { room: "r", panel: "search" },
      { room: "r", message: 42 },
    ] as const) {
      expect(parseRoute(routeHash(place))).toEqual(place);
    }
    expect(parseRoute("#/room/%zz")).toEqual({});
    expect(parseRoute("#/room/r/else")).toEqual({ room: "r" });
    for (const seq of ["", "0", "-1", "1.5", "x", "9e99"]) {
      expect(parseRoute(`#/room/r/at/${seq}`)).toEqual({ room: "r" });
    }
  });
});

describe("rooms marked as unread", () => {
  /** A fake window that has only listeners of storage events. */
  const page = () => {
    const listeners = new Set<(event: StorageEvent) => void>();
    return {
      listeners,
      addEventListener: (_: string, listener: never) => void listeners.add(listener),
      removeEventListener: (_: string, listener: never) => void listeners.delete(listener),
    };
  };

  it("are kept for each user, and survive a malformed storage", () => {
    const place = createStorage();
    createUnreadMarks("ada", place, page()).set("r", true);
    expect([...createUnreadMarks("ada", place, page()).get()]).toEqual(["r"]);
    expect([...createUnreadMarks("bo", place, page()).get()]).toEqual([]);
    for (const text of ["{", "7", "[1]"]) {
      place.setItem("tidings.unread.ada", text);
      expect([...createUnreadMarks("ada", place, page()).get()]).toEqual([]);
    }
  });

  it("are shared with other tabs while somebody listens", () => {
    const place = createStorage();
    const tab = page();
    const marks = createUnreadMarks("ada", place, tab);
    let changes = 0;
    const stop = marks.subscribe(() => {
      changes += 1;
    });
    createUnreadMarks("ada", place, page()).set("r", true);
    for (const listener of tab.listeners) listener({ key: "tidings.unread.ada" } as StorageEvent);
    for (const listener of tab.listeners) listener({ key: "other" } as StorageEvent);
    expect([[...marks.get()], changes]).toEqual([["r"], 1]);
    marks.set("r", true);
    expect(changes).toBe(1);
    stop();
    expect(tab.listeners.size).toBe(0);
  });
});

describe("permissions", () => {
  const room = (role: string, more = {}) => ({ role, kind: "private", archived: false, ...more }) as never;

  it("follow the table of roles", () => {
    const [mine, theirs] = [message(1, { sender: me }), message(2, { sender: bo })];
    expect(["guest", "member", "admin", "owner"].map((role) => mayWrite(room(role)))).toEqual([
      false,
      true,
      true,
      true,
    ]);
    expect(["guest", "member", "admin"].map((role) => mayChange(room(role), mine))).toEqual([
      false,
      true,
      true,
    ]);
    expect(["member", "critic", "owner"].map((role) => mayChange(room(role), theirs))).toEqual([
      false,
      false,
      true,
    ]);
    expect(mayWrite(room("owner", { archived: true }))).toBe(false);
    expect(assignableRoles(room("admin"), "owner")).toEqual([]);
    expect(assignableRoles(room("admin"), "member")).toEqual(["admin", "member", "guest"]);
    expect(assignableRoles(room("owner"), "owner")).toContain("owner");
    expect(assignableRoles(room("owner", { kind: "direct" }))).toEqual([]);
  });
});

describe("floating boxes", () => {
  const view = { width: 400, height: 600 };
  const anchor = (left: number, top: number) => ({ left, top, right: left + 40, bottom: top + 40 });

  it("are below the anchor, above it when there is no space below, and never outside the window", () => {
    const box = { width: 200, height: 150 };
    expect(positionBox(anchor(20, 20), box, view, "start")).toEqual({ left: 20, top: 64 });
    expect(positionBox(anchor(20, 550), box, view, "start").top).toBe(550 - 4 - 150);
    expect(positionBox(anchor(380, 20), box, view, "start").left).toBe(192);
    expect(positionBox(anchor(10, 20), box, view, "end").left).toBe(8);
    expect(positionBox(anchor(10, 300), { width: 200, height: 590 }, view, "start").top).toBe(8);
  });
});
