import type { TidingsClient } from "@tidings/client";
import { describe, expect, it, vi } from "vitest";
import { assignableRoles, mayChange, mayWrite } from "../src/room/permissions.ts";
import { createDrafts } from "../src/state/drafts.ts";
import { joinOrCreateLobby } from "../src/state/lobby.ts";
import { parseRoute, routeHash } from "../src/state/route.ts";
import { originPicker } from "../src/state/server.ts";
import { createSessions } from "../src/state/session.ts";
import { positionBox } from "../src/ui/position.ts";
import { bo, me, message } from "./message.ts";

function storage() {
  const kept = new Map<string, string>();
  return {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
    key: (at: number) => [...kept.keys()][at] ?? null,
    get length() {
      return kept.size;
    },
  };
}

describe("sessions", () => {
  const ada = { user: "ada", name: "Ada" };
  const other = { user: "bo", name: "Bo" };

  it("are remembered by the tab, and by new tabs", () => {
    const device = storage();
    const tab = storage();
    createSessions(tab, device).save(ada);
    expect(createSessions(tab, device).load()).toEqual(ada);
    expect(createSessions(storage(), device).load()).toEqual(ada);
  });

  it("let two tabs have two users, also after reloads", () => {
    const device = storage();
    const [one, two] = [storage(), storage()];
    createSessions(one, device).save(ada);
    createSessions(two, device).save(other);
    expect([createSessions(one, device).load(), createSessions(two, device).load()]).toEqual([ada, other]);
  });

  it("end only in the tab that signs out, and do not start again by themselves", () => {
    const device = storage();
    const [one, two] = [storage(), storage()];
    createSessions(one, device).save(ada);
    createSessions(two, device).save(other);
    createSessions(two, device).clear(other);
    expect(createSessions(two, device).load()).toBeUndefined();
    expect(createSessions(one, device).load()).toEqual(ada);
    expect(createSessions(storage(), device).load()).toBeUndefined();
  });

  it("work without a storage that fails", () => {
    const broken = {
      getItem: () => {
        throw new Error("forbidden");
      },
      setItem: () => {
        throw new Error("full");
      },
      removeItem: () => {},
    };
    const sessions = createSessions(broken, broken);
    sessions.save(ada);
    expect(sessions.load()).toBeUndefined();
  });
});

describe("drafts", () => {
  it("are stored by room and user across reloads", () => {
    const place = storage();
    createDrafts("ada", place).set("r1", "half a tho");
    expect(createDrafts("ada", place).get("r1")).toBe("half a tho");
    expect(createDrafts("ada", place).get("r2")).toBe("");
    expect(createDrafts("bo", place).get("r1")).toBe("");
  });

  it("are removed when emptied, and notify listeners only when they are published", () => {
    const place = storage();
    const drafts = createDrafts("ada", place);
    const listener = vi.fn();
    drafts.subscribe(listener);
    const before = drafts.published();
    drafts.set("r1", "x");
    expect(listener).not.toHaveBeenCalled();
    expect(drafts.published()).toBe(before);
    drafts.publish();
    expect(listener).toHaveBeenCalledOnce();
    expect([...drafts.published()]).toEqual([["r1", "x"]]);
    drafts.set("r1", "  ");
    expect(place.length).toBe(0);
    drafts.publish();
    expect([...drafts.published()]).toEqual([]);
  });

  it("of one tab are not changed by another tab", () => {
    const place = storage();
    const [one, two] = [createDrafts("ada", place), createDrafts("ada", place)];
    one.set("r1", "from one");
    two.set("r2", "from two");
    one.set("r3", "gone");
    one.set("r3", "");
    const after = createDrafts("ada", place);
    expect([...after.published()].sort()).toEqual([
      ["r1", "from one"],
      ["r2", "from two"],
    ]);
    two.set("r1", "");
    expect(one.get("r1")).toBe("");
  });

  it("stay in memory when the storage fails, and ignore keys of others", () => {
    const fail = () => {
      throw new Error("forbidden");
    };
    const drafts = createDrafts("ada", {
      getItem: fail,
      setItem: fail,
      removeItem: fail,
      key: fail,
      length: 3,
    });
    drafts.set("r1", "half a tho");
    drafts.publish();
    expect(drafts.get("r1")).toBe("half a tho");
    expect([...drafts.published()]).toEqual([["r1", "half a tho"]]);
    drafts.set("r1", "");
    drafts.publish();
    expect([...drafts.published()]).toEqual([]);
    const place = storage();
    place.setItem("tidings.theme", "dark");
    expect([...createDrafts("ada", place).published()]).toEqual([]);
  });
});

describe("routes", () => {
  it("do not change when they are converted to a hash and back", () => {
    for (const place of [
      {},
      { room: "a:b.c-d" },
      { room: "r", panel: "members" },
      { room: "r", panel: "search" },
    ] as const) {
      expect(parseRoute(routeHash(place))).toEqual(place);
    }
    expect(parseRoute("#/room/%zz")).toEqual({});
    expect(parseRoute("#/room/r/else")).toEqual({ room: "r" });
  });
});

describe("gateways", () => {
  const all = ["http://a", "http://b", "http://c"];

  it("are picked at random, unless the address selects one", () => {
    expect([0, 0.4, 0.99].map((at) => originPicker(all, "", () => at)())).toEqual(all);
    expect(originPicker(all, "?gateway=1", () => 0)()).toBe("http://b");
    expect(originPicker(all, "?gateway=9", () => 0)()).toBe("http://a");
    expect(originPicker([], "")).toThrow();
  });
});

describe("the lobby", () => {
  const room = (id: string, name: string, created_at: string) => ({
    room: id,
    name,
    created_at,
    archived: false,
  });
  /** A client of the user "me". Its server has these public rooms. */
  const client = (rooms: object[]) => {
    const http = vi.fn(async (method: string, _path: string, _body?: unknown): Promise<unknown> => {
      if (method === "GET") return { rooms, next: null };
      return method === "POST" ? { room: "made" } : undefined;
    });
    return { http, me: { get: () => ({ id: "me" }) } };
  };
  const find = (one: ReturnType<typeof client>) => joinOrCreateLobby(one as unknown as TidingsClient);

  it("is the oldest of several public rooms with this name", async () => {
    const one = client([
      room("young", "Lobby", "2026-02-01T00:00:00.000Z"),
      room("old", "Lobby", "2026-01-01T00:00:00.000Z"),
      room("other", "Lobby bar", "2025-01-01T00:00:00.000Z"),
    ]);
    expect(await find(one)).toBe("old");
    expect(one.http.mock.calls.slice(1)).toEqual([["PUT", "/rooms/old/members/me"]]);
  });

  it("is created when it does not exist", async () => {
    const one = client([]);
    expect(await find(one)).toBe("made");
    expect(one.http.mock.calls.slice(1)).toEqual([["POST", "/rooms", { kind: "public", name: "Lobby" }]]);
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
