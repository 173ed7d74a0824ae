import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { deleteMessage, editMessage, react, unreact } from "../src/changes.js";
import type { ClientFrame } from "../src/index.js";
import { onSignal, presence, receipts, signal, typing } from "../src/live.js";
import { asFrame, hasShape, isEvent, parseFrame, SHAPES } from "../src/protocol/check.js";
import type { Json } from "../src/testing.js";
import { World } from "./support/world.js";

const readFixtures = (name: string): Json[] =>
  JSON.parse(readFileSync(new URL(`../../../harness/fixtures/wire/${name}.json`, import.meta.url), "utf8"));
const serverFrames = readFixtures("server");
const clientFrames = readFixtures("client");

/** The types of frames that the main entry accepts with any fields, because it uses none of their fields. */
const UNCHECKED_TYPES = /^(ok|pong|room:left|signal|typing:.+|receipt:.+|presence.*)$/;

test("the kit accepts every frame of the server", () => {
  expect(serverFrames.length).toBeGreaterThan(25);
  for (const frame of serverFrames) {
    if (!UNCHECKED_TYPES.test(String(frame.type)))
      expect(asFrame({ type: frame.type }), JSON.stringify(frame)).toBeUndefined();
    expect(asFrame(frame), JSON.stringify(frame)).toBe(frame);
  }
});

/** The required fields of each frame. */
const REQUIRED_FIELDS: { readonly [type: string]: string } = {
  connected: "user server_time heartbeat_ms rooms_version limits",
  "auth:ok": "expires_at",
  "room:joined": "rooms failed",
  ack: "room seq epoch at stage duplicate client_id",
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
  "room:added": "room kind role from",
  "room:removed": "room seq",
  "rooms:changed": "rooms_version",
  "room:activity": "room seq from",
  "rooms:activity": "after_ms",
  draining: "reconnect_after_ms",
};

test("a frame with a missing or wrong required field is refused", () => {
  const types = new Set<unknown>();
  for (const frame of serverFrames) {
    types.add(frame.type);
    for (const field of (REQUIRED_FIELDS[frame.type as string] ?? "").split(" ").filter(Boolean)) {
      const { [field]: value, ...rest } = frame;
      expect(value, `${frame.type} ${field}`).toBeDefined();
      expect(asFrame(rest), `${frame.type} without ${field}`).toBeUndefined();
      expect(asFrame({ ...frame, [field]: null }), `${frame.type} with ${field}: null`).toBeUndefined();
      const other = typeof value === "string" ? 7 : "seven";
      expect(asFrame({ ...frame, [field]: other }), `${frame.type} with ${field}: ${other}`).toBeUndefined();
    }
  }
  for (const type of Object.keys(REQUIRED_FIELDS)) expect([...types], type).toContain(type);
});

test("malformed frames of the live features change nothing", async () => {
  const world = new World();
  const client = world.client();
  const room = client.room("r");
  const live = { typing: typing(room), presence: presence(client), receipts: receipts(room) };
  const signals: unknown[] = [];
  onSignal(client, (one) => signals.push(one));
  room.open();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  const send = (frame: object) => {
    for (const session of world.server.sessions) session.send({ room: "r", ...frame });
  };
  for (const user of [undefined, null, "bob", {}, { id: 7 }]) {
    send({ type: "typing:start", user });
    send({ type: "typing:stop", user });
    send({ type: "presence", user, status: 7 });
  }
  send({ type: "typing:start", user: { id: "bob" }, expires_ms: "soon" });
  send({ type: "signal" });
  for (const marks of [undefined, 7, [{}], [{ user: "bob", seq: "7" }]])
    send({ type: "receipt:read", marks });
  await world.clock.pass(1_000);
  expect(live.typing.get()).toEqual([]);
  expect(live.presence.of("bob").get()).toBeUndefined();
  expect(live.receipts.get().size).toBe(0);
  expect(signals).toEqual([]);
  expect(world.errors).toEqual([]);
  send({ type: "typing:start", user: { id: "bob" } });
  send({ type: "signal", from: "bob", data: 1 });
  await world.clock.pass(100);
  expect(live.typing.get()).toMatchObject([{ id: "bob" }]);
  expect(signals).toEqual([{ room: "r", from: "bob", data: 1 }]);
});

test("unknown types and fields are ignored", () => {
  for (const frame of serverFrames) expect(asFrame({ ...frame, future: { a: 1 } })).toBeDefined();
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
  const shapes: { readonly [name: string]: string } = {
    Message: SHAPES.message,
    Room: SHAPES.room,
    MyRoom: SHAPES.room,
  };
  for (const { form, object } of readFixtures("http") as unknown as { form: string; object: Json }[]) {
    const shape = shapes[form];
    if (!shape) continue;
    expect(hasShape(object, shape), form).toBe(true);
    for (const [, name = "", optional] of shape.matchAll(/(\w+)(\??):\w/g)) {
      if (optional) continue;
      const { [name]: _, ...rest } = object;
      expect(hasShape(rest, shape), `${form} without ${name}`).toBe(false);
    }
  }
});

test("the frames of the kit match docs/PROTOCOL.md", async () => {
  const fields = new Map<unknown, Set<string>>();
  for (const frame of clientFrames) {
    const set = fields.get(frame.type) ?? new Set();
    for (const field of Object.keys(frame)) set.add(field);
    fields.set(frame.type, set);
  }
  const world = new World();
  world.server.heartbeat = 2_000;
  world.server.ttl = 20_000;
  const kit = world.client();
  kit.connect().catch(() => {});
  const room = kit.room("r");
  room.open();
  await world.clock.pass(1_000);
  room.send("x", {
    kind: "note",
    replyTo: 1,
    visibleTo: { users: ["bob"], roles: [] },
    mentions: ["bob"],
    attachments: [{ name: "n", url: "https://x", mediaType: "text/plain", size: 1 }],
    metadata: { a: 1 },
  });
  await world.clock.pass(1_000);
  const ignoreRejection = (promise: Promise<unknown>) => void promise.catch(() => {});
  ignoreRejection(editMessage(room, 1, "y", { b: 2 }, ["bob"]));
  ignoreRejection(react(room, 1, "👍"));
  ignoreRejection(unreact(room, 1, "👍"));
  ignoreRejection(deleteMessage(room, 1));
  ignoreRejection(signal(room, { a: 1 }, "bob"));
  room.markRead(1);
  typing(room).typed();
  presence(kit).watch(["bob"]);
  presence(kit).set("away");
  world.server.appendMessage("delivered");
  await world.clock.pass(30_000);
  const sent = new Set(world.server.seen.map((frame) => frame.type));
  const expectedTypes: ClientFrame["type"][] = [
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
  expect([...sent].sort()).toEqual([...expectedTypes].sort());
  for (const frame of world.server.seen) {
    const documentedFields = fields.get(frame.type);
    expect(documentedFields, `${frame.type} is among the fixtures`).toBeDefined();
    const unknownFields = Object.keys(frame).filter((field) => !documentedFields?.has(field));
    expect(unknownFields, `${frame.type}`).toEqual([]);
  }
});
