// The functions of `@tidings/client/http` return the field names and times of the kit, not those of the wire.
import { expect, test } from "vitest";
import { createRoom, messagesAround, messageVersions, publicRooms, roomEvents, search } from "../src/http.js";
import { members } from "../src/live.js";
import { World } from "./support/world.js";

const WIRE_TIME = "2026-01-31T09:30:00.123Z";
const at = Date.parse(WIRE_TIME);
const wireRoom = {
  room: "garden",
  kind: "public",
  name: "Garden",
  created_by: "bob",
  created_at: WIRE_TIME,
  updated_at: WIRE_TIME,
  archived: false,
  metadata: null,
  members: 2,
  role: "owner",
  head: { epoch: "1", seq: 0 },
};
const wireMessage = {
  id: "m",
  seq: 7,
  room: "garden",
  client_id: "c",
  sender: { id: "bob", name: "Bob", picture: null },
  kind: "text",
  content: "tea party",
  reply_to: 3,
  attachments: [{ name: "a.png", url: "https://x/a.png", media_type: "image/png", size: 1 }],
  metadata: null,
  visible_to: null,
  at: WIRE_TIME,
  edited_at: null,
  deleted: false,
  last_seq: 7,
  reactions: [],
};

async function connectedClient(answers: { readonly [path: string]: unknown }) {
  const world = new World();
  world.server.http = (_method, path) =>
    path in answers ? { status: 200, body: answers[path] as never } : undefined;
  const client = world.client();
  await Promise.all([client.connect(), world.clock.pass(1_000)]);
  const settle = async <T>(work: Promise<T>): Promise<T> =>
    (await Promise.all([work, world.clock.pass(100)]))[0];
  return { client, world, settle };
}

test("a search gives messages as the room shows them, and skips malformed results", async () => {
  const snippet = [{ text: "tea", hit: true }];
  const results = [
    { message: wireMessage, snippet },
    { message: { id: "broken" }, snippet },
  ];
  const { client, settle } = await connectedClient({ "/search": { results, next: "more" } });
  const page = await settle(search(client, "tea"));
  expect(page).toMatchObject({
    next: "more",
    results: [{ snippet, message: { key: "bob c", seq: 7, at, replyTo: 3, mine: false, status: "sent" } }],
  });
  expect(page.results).toHaveLength(1);
  expect(page.results[0]?.message.attachments).toEqual([
    { name: "a.png", url: "https://x/a.png", mediaType: "image/png", size: 1 },
  ]);
});

test("a created or found room has an id, times in milliseconds and no fields of the wire", async () => {
  const { client, settle } = await connectedClient({
    "/rooms": { ...wireRoom, rooms: [wireRoom], next: null },
  });
  const info = {
    id: "garden",
    kind: "public",
    name: "Garden",
    role: "owner",
    members: 2,
    archived: false,
    metadata: null,
    createdBy: "bob",
    createdAt: at,
    updatedAt: at,
  };
  expect(await settle(createRoom(client, { kind: "public", name: "Garden" }))).toEqual(info);
  expect(await settle(publicRooms(client))).toEqual({ rooms: [info], next: null });
});

test("versions and members have times in milliseconds, and the limits are in camelCase", async () => {
  const { client, settle } = await connectedClient({
    "/rooms/garden/messages/7/versions": { versions: [{ content: "tee", at: WIRE_TIME, by: "bob" }] },
    "/rooms/garden/members": {
      members: [{ user: "bob", name: null, picture: null, role: "owner", joined_at: WIRE_TIME }],
      next: null,
    },
  });
  expect(await settle(messageVersions(client, "garden", 7))).toEqual([{ content: "tee", at, by: "bob" }]);
  expect(await settle(members(client.room("garden")).load())).toEqual([
    { user: "bob", role: "owner", joinedAt: at },
  ]);
  expect(client.me.get()?.limits).toEqual({
    maxMessageChars: 1000,
    maxFrameBytes: 65536,
    messagesPerSecond: 10,
  });
});

test("a page of events has the known events, and tells where it ends", async () => {
  const { client, world, settle } = await connectedClient({});
  world.server.addRoom("garden");
  world.server.say("garden", "bob", "tea?");
  world.server.addMember("garden", "carol");
  world.server.append("garden", { type: "member:added", user: "dave" });
  const page = await settle(roomEvents(client, "garden", 1));
  expect(page.events).toEqual([expect.objectContaining({ type: "member:added", user: "carol", seq: 2 })]);
  expect([page.next, page.more]).toEqual([3, false]);
  client.close();
});

test("an AbortSignal ends each request at once with `closed`", async () => {
  const { client, world } = await connectedClient({});
  world.delay = 60_000;
  const controller = new AbortController();
  const { signal } = controller;
  const requests = [
    search(client, "tea", { signal }),
    publicRooms(client, { signal }),
    createRoom(client, { kind: "private" }, { signal }),
    messagesAround(client, "garden", 7, 20, { signal }),
    messageVersions(client, "garden", 7, { signal }),
    roomEvents(client, "garden", 7, { signal }),
    client.request({ type: "ping" }, { signal }),
  ].map((request) =>
    request.then(
      () => "answered",
      (error: { code: string }) => error.code,
    ),
  );
  controller.abort();
  expect(await Promise.all(requests)).toEqual(requests.map(() => "closed"));
  client.close();
});
