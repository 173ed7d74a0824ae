import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { deleteMessage, editMessage, react, unreact } from "../src/changes.js";
import type { ClientFrame } from "../src/index.js";
import { presence, signal, typing } from "../src/live.js";
import { asFrame, hasShape, isEvent, parseFrame, SHAPES } from "../src/protocol/check.js";
import type { Json } from "./support/model.js";
import { World } from "./support/world.js";

const read = (name: string): Json[] =>
  JSON.parse(readFileSync(new URL(`../../../harness/fixtures/wire/${name}.json`, import.meta.url), "utf8"));
const server = read("server");
const client = read("client");

test("the kit accepts every frame of the server", () => {
  expect(server.length).toBeGreaterThan(25);
  for (const frame of server) {
    // A type that the kit does not know has no required fields.
    if (frame.type !== "ok") expect(asFrame({ type: frame.type }), JSON.stringify(frame)).toBeUndefined();
    expect(asFrame(frame), JSON.stringify(frame)).toBe(frame);
  }
});

/** The required fields of each frame. */
const NEEDED: { readonly [type: string]: string } = {
  connected: "user server_time heartbeat_ms rooms_version limits",
  "auth:ok": "expires_at",
  "room:joined": "rooms failed",
  "room:left": "rooms",
  ack: "room seq epoch at stage duplicate client_id",
  pong: "server_time",
  "presence:list": "users",
  error: "code",
  "message:new": "room seq at id client_id sender kind content",
  "message:edited": "room seq at target target_id content by",
  "message:deleted": "room seq at target target_id by",
  "reaction:added": "room seq at target target_id emoji by",
  "reaction:removed": "room seq at target target_id emoji by",
  "member:added": "room seq at user role by",
  "member:changed": "room seq at user role by",
  "member:removed": "room seq at user by",
  "room:updated": "room seq at by",
  "message:void": "room seq at target client_id by reason",
  "room:caught_up": "room epoch seq",
  "room:gap": "room after head",
  "typing:start": "room user",
  "typing:stop": "room user",
  signal: "room from",
  presence: "user status",
  "receipt:read": "room marks",
  "receipt:delivered": "room marks",
  "room:added": "room kind role from",
  "room:removed": "room seq",
  "rooms:changed": "rooms_version",
  draining: "reconnect_after_ms",
};

test("a frame with a missing or wrong required field is refused", () => {
  const types = new Set<unknown>();
  for (const frame of server) {
    types.add(frame.type);
    for (const field of (NEEDED[frame.type as string] ?? "").split(" ").filter(Boolean)) {
      const { [field]: value, ...rest } = frame;
      expect(value, `${frame.type} ${field}`).toBeDefined();
      expect(asFrame(rest), `${frame.type} without ${field}`).toBeUndefined();
      expect(asFrame({ ...frame, [field]: null }), `${frame.type} with ${field}: null`).toBeUndefined();
      const other = typeof value === "string" ? 7 : "seven";
      expect(asFrame({ ...frame, [field]: other }), `${frame.type} with ${field}: ${other}`).toBeUndefined();
    }
  }
  for (const type of Object.keys(NEEDED)) expect([...types], type).toContain(type);
});

test("unknown types and fields are ignored", () => {
  for (const frame of server) expect(asFrame({ ...frame, future: { a: 1 } })).toBeDefined();
  expect(asFrame({ type: "room:painted", room: "r", seq: 1, at: "x" })).toBeDefined();
  expect(isEvent({ type: "room:painted", room: "r", seq: 1, at: "x" } as never)).toBe(false);
});

test("no input makes the frame parser throw", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), fc.anything().map(fc.stringify)), (text) => {
      parseFrame(text);
    }),
    { numRuns: 1_000 },
  );
  expect(asFrame({ type: "toString" })).toBeDefined();
  expect(isEvent({ type: "toString" } as never)).toBe(false);
});

test("the kit accepts HTTP answers of the server and refuses them without required fields", () => {
  const forms: { readonly [name: string]: string } = {
    Message: SHAPES.message,
    Room: SHAPES.room,
    MyRoom: SHAPES.room,
  };
  for (const { form, object } of read("http") as unknown as { form: string; object: Json }[]) {
    const needed = forms[form];
    if (!needed) continue;
    expect(hasShape(object, needed), form).toBe(true);
    for (const [, name = "", optional] of needed.matchAll(/(\w+)(\??):\w/g)) {
      if (optional) continue;
      const { [name]: _, ...rest } = object;
      expect(hasShape(rest, needed), `${form} without ${name}`).toBe(false);
    }
  }
});

test("the frames of the kit match docs/PROTOCOL.md", async () => {
  const fields = new Map<unknown, Set<string>>();
  for (const frame of client) {
    const set = fields.get(frame.type) ?? new Set();
    for (const field of Object.keys(frame)) set.add(field);
    fields.set(frame.type, set);
  }
  const world = new World();
  world.model.heartbeat = 2_000;
  world.model.ttl = 20_000;
  const kit = world.client();
  kit.connect().catch(() => {});
  const room = kit.room("r");
  room.open();
  await world.clock.pass(1_000);
  room.send("x", {
    kind: "note",
    replyTo: 1,
    visibleTo: { users: ["bob"], roles: [] },
    attachments: [{ name: "n", url: "https://x", media_type: "text/plain", size: 1 }],
    metadata: { a: 1 },
  });
  await world.clock.pass(1_000);
  const quiet = (promise: Promise<unknown>) => void promise.catch(() => {});
  quiet(editMessage(room, 1, "y", { b: 2 }));
  quiet(react(room, 1, "👍"));
  quiet(unreact(room, 1, "👍"));
  quiet(deleteMessage(room, 1));
  quiet(signal(room, { a: 1 }, "bob"));
  room.markRead(1);
  typing(room).typed();
  presence(kit).watch(["bob"]);
  presence(kit).set("away");
  world.model.appendMessage("delivered");
  await world.clock.pass(30_000);
  const sent = new Set(world.model.seen.map((frame) => frame.type));
  const all: ClientFrame["type"][] = [
    "auth",
    "room:join",
    "message:send",
    "message:edit",
    "message:delete",
    "reaction:add",
    "reaction:remove",
    "message:read",
    "message:delivered",
    "typing:start",
    "typing:stop",
    "signal",
    "presence:set",
    "presence:get",
    "ping",
  ];
  expect([...sent].sort()).toEqual([...all].sort());
  for (const frame of world.model.seen) {
    const described = fields.get(frame.type);
    expect(described, `${frame.type} is among the fixtures`).toBeDefined();
    const beside = Object.keys(frame).filter((field) => !described?.has(field));
    expect(beside, `${frame.type}`).toEqual([]);
  }
});
