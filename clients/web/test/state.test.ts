import type { TidingsClient } from "@tidings/client";
import { describe, expect, it, vi } from "vitest";
import { mayChange, mayWrite, rolesToGive } from "../src/room/permissions.ts";
import { makeDrafts } from "../src/state/drafts.ts";
import { findOrMakeLobby } from "../src/state/lobby.ts";
import { parsePlace, placeHash } from "../src/state/place.ts";
import { originPicker } from "../src/state/server.ts";
import { makeSessions } from "../src/state/session.ts";
import { placeBox } from "../src/ui/place.ts";
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
    makeSessions(tab, device).save(ada);
    expect(makeSessions(tab, device).load()).toEqual(ada);
    expect(makeSessions(storage(), device).load()).toEqual(ada);
  });

  it("let two tabs be two people, over reloads too", () => {
    const device = storage();
    const [one, two] = [storage(), storage()];
    makeSessions(one, device).save(ada);
    makeSessions(two, device).save(other);
    expect([makeSessions(one, device).load(), makeSessions(two, device).load()]).toEqual([ada, other]);
  });

  it("end in their tab only when one signs out, and are not taken up again by themselves", () => {
    const device = storage();
    const [one, two] = [storage(), storage()];
    makeSessions(one, device).save(ada);
    makeSessions(two, device).save(other);
    makeSessions(two, device).clear(other);
    expect(makeSessions(two, device).load()).toBeUndefined();
    expect(makeSessions(one, device).load()).toEqual(ada);
    expect(makeSessions(storage(), device).load()).toBeUndefined();
  });

  it("do without a storage that fails", () => {
    const broken = {
      getItem: () => {
        throw new Error("forbidden");
      },
      setItem: () => {
        throw new Error("full");
      },
      removeItem: () => {},
    };
    const sessions = makeSessions(broken, broken);
    sessions.save(ada);
    expect(sessions.load()).toBeUndefined();
  });
});

describe("drafts", () => {
  it("are kept by room and user, over reloads", () => {
    const place = storage();
    makeDrafts("ada", place).set("r1", "half a tho");
    expect(makeDrafts("ada", place).get("r1")).toBe("half a tho");
    expect(makeDrafts("ada", place).get("r2")).toBe("");
    expect(makeDrafts("bo", place).get("r1")).toBe("");
  });

  it("are forgotten when emptied, and told of only when they are published", () => {
    const place = storage();
    const drafts = makeDrafts("ada", place);
    const told = vi.fn();
    drafts.subscribe(told);
    const before = drafts.published();
    drafts.set("r1", "x");
    expect(told).not.toHaveBeenCalled();
    expect(drafts.published()).toBe(before);
    drafts.publish();
    expect(told).toHaveBeenCalledOnce();
    expect([...drafts.published()]).toEqual([["r1", "x"]]);
    drafts.set("r1", "  ");
    expect(place.length).toBe(0);
    drafts.publish();
    expect([...drafts.published()]).toEqual([]);
  });

  it("of one tab are left alone by another", () => {
    const place = storage();
    const [one, two] = [makeDrafts("ada", place), makeDrafts("ada", place)];
    one.set("r1", "from one");
    two.set("r2", "from two");
    one.set("r3", "gone");
    one.set("r3", "");
    const after = makeDrafts("ada", place);
    expect([...after.published()].sort()).toEqual([
      ["r1", "from one"],
      ["r2", "from two"],
    ]);
    two.set("r1", "");
    expect(one.get("r1")).toBe("");
  });

  it("live as long as the page where the storage fails, and others' keys are none", () => {
    const fail = () => {
      throw new Error("forbidden");
    };
    const drafts = makeDrafts("ada", {
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
    expect([...makeDrafts("ada", place).published()]).toEqual([]);
  });
});

describe("places", () => {
  it("are the same after they were an address", () => {
    for (const place of [
      {},
      { room: "a:b.c-d" },
      { room: "r", panel: "members" },
      { room: "r", panel: "search" },
    ] as const) {
      expect(parsePlace(placeHash(place))).toEqual(place);
    }
    expect(parsePlace("#/room/%zz")).toEqual({});
    expect(parsePlace("#/room/r/else")).toEqual({ room: "r" });
  });
});

describe("gateways", () => {
  const all = ["http://a", "http://b", "http://c"];

  it("are picked at random, unless the address keeps to one", () => {
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
  /** A client of somebody called me, whose server has these public rooms. */
  const client = (rooms: object[]) => {
    const http = vi.fn(async (method: string, _path: string, _body?: unknown): Promise<unknown> => {
      if (method === "GET") return { rooms, next: null };
      return method === "POST" ? { room: "made" } : undefined;
    });
    return { http, me: { get: () => ({ id: "me" }) } };
  };
  const find = (one: ReturnType<typeof client>) => findOrMakeLobby(one as unknown as TidingsClient);

  it("is joined, the oldest where there are several", async () => {
    const one = client([
      room("young", "Lobby", "2026-02-01T00:00:00.000Z"),
      room("old", "Lobby", "2026-01-01T00:00:00.000Z"),
      room("other", "Lobby bar", "2025-01-01T00:00:00.000Z"),
    ]);
    expect(await find(one)).toBe("old");
    expect(one.http.mock.calls.slice(1)).toEqual([["PUT", "/rooms/old/members/me"]]);
  });

  it("is made where there is none", async () => {
    const one = client([]);
    expect(await find(one)).toBe("made");
    expect(one.http.mock.calls.slice(1)).toEqual([["POST", "/rooms", { kind: "public", name: "Lobby" }]]);
  });
});

describe("what one may do", () => {
  const room = (role: string, more = {}) => ({ role, kind: "private", archived: false, ...more }) as never;

  it("follows the table of roles", () => {
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
    expect(rolesToGive(room("admin"), "owner")).toEqual([]);
    expect(rolesToGive(room("admin"), "member")).toEqual(["admin", "member", "guest"]);
    expect(rolesToGive(room("owner"), "owner")).toContain("owner");
    expect(rolesToGive(room("owner", { kind: "direct" }))).toEqual([]);
  });
});

describe("floating boxes", () => {
  const view = { width: 400, height: 600 };
  const anchor = (left: number, top: number) => ({ left, top, right: left + 40, bottom: top + 40 });

  it("stand below, above where there is no room below, and never outside", () => {
    const box = { width: 200, height: 150 };
    expect(placeBox(anchor(20, 20), box, view, "start")).toEqual({ left: 20, top: 64 });
    expect(placeBox(anchor(20, 550), box, view, "start").top).toBe(550 - 4 - 150);
    expect(placeBox(anchor(380, 20), box, view, "start").left).toBe(192);
    expect(placeBox(anchor(10, 20), box, view, "end").left).toBe(8);
    expect(placeBox(anchor(10, 300), { width: 200, height: 590 }, view, "start").top).toBe(8);
  });
});
