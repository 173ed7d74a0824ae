import type { TidingsClient } from "@tidings/client";
import { describe, expect, it, vi } from "vitest";
import { joinOrCreateLobby } from "../src/state/lobby.ts";
import { createOriginPicker } from "../src/state/server.ts";
import { createSessions } from "../src/state/session.ts";

function createStorage() {
  const values = new Map<string, string>();
  return {
    getItem: (key: string) => values.get(key) ?? null,
    setItem: (key: string, value: string) => void values.set(key, value),
    removeItem: (key: string) => void values.delete(key),
    key: (at: number) => [...values.keys()][at] ?? null,
    get length() {
      return values.size;
    },
  };
}

describe("sessions", () => {
  const ada = { user: "ada", name: "Ada" };
  const other = { user: "bo", name: "Bo" };

  it("are remembered by the tab, and by new tabs", () => {
    const device = createStorage();
    const tab = createStorage();
    createSessions(tab, device).save(ada);
    expect(createSessions(tab, device).load()).toEqual(ada);
    expect(createSessions(createStorage(), device).load()).toEqual(ada);
  });

  it("let two tabs have two users, also after reloads", () => {
    const device = createStorage();
    const [one, two] = [createStorage(), createStorage()];
    createSessions(one, device).save(ada);
    createSessions(two, device).save(other);
    expect([createSessions(one, device).load(), createSessions(two, device).load()]).toEqual([ada, other]);
  });

  it("end only in the tab that signs out, and do not start again by themselves", () => {
    const device = createStorage();
    const [one, two] = [createStorage(), createStorage()];
    createSessions(one, device).save(ada);
    createSessions(two, device).save(other);
    createSessions(two, device).clear(other);
    expect(createSessions(two, device).load()).toBeUndefined();
    expect(createSessions(one, device).load()).toEqual(ada);
    expect(createSessions(createStorage(), device).load()).toBeUndefined();
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

describe("gateways", () => {
  const all = ["http://a", "http://b", "http://c"];

  it("are picked at random, unless the address selects one", () => {
    expect([0, 0.4, 0.99].map((at) => createOriginPicker(all, "", () => at)())).toEqual(all);
    expect(createOriginPicker(all, "?gateway=1", () => 0)()).toBe("http://b");
    expect(createOriginPicker(all, "?gateway=9", () => 0)()).toBe("http://a");
    expect(createOriginPicker([], "")).toThrow();
  });
});

describe("the lobby", () => {
  const room = (id: string, name: string, created_at: string) => ({
    room: id,
    kind: "public",
    name,
    created_by: "bo",
    created_at,
    updated_at: created_at,
    members: 1,
    metadata: null,
    archived: false,
    head: { epoch: "1", seq: 0 },
  });
  /** A client of the user "me". Its server has these public rooms. */
  const client = (rooms: object[]) => {
    const http = vi.fn(async (method: string, _path: string, _body?: unknown): Promise<unknown> => {
      if (method === "GET") return { rooms, next: null };
      return method === "POST" ? room("made", "Lobby", "2026-03-01T00:00:00.000Z") : undefined;
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
    expect(one.http.mock.calls.slice(1)).toEqual([["PUT", "/rooms/old/members/me", undefined, undefined]]);
  });

  it("is created when it does not exist", async () => {
    const one = client([]);
    expect(await find(one)).toBe("made");
    expect(one.http.mock.calls.slice(1)).toEqual([
      ["POST", "/rooms", { kind: "public", name: "Lobby" }, undefined],
    ]);
  });
});
