// Long, since all of it needs the same world of tabs and cuts: what becomes of messages on their way.
import fc from "fast-check";
import { expect, test } from "vitest";
import { type StorageAdapter, TidingsError } from "../src/index.js";
import { memoryStorage } from "../src/storage.js";
import type { Json } from "./support/model.js";
import { disk, lifecycle, World } from "./support/world.js";

const sends = (world: World) => world.model.seen.filter((frame) => frame.type === "message:send");

async function open(options: Parameters<World["client"]>[0] = {}, world = new World()) {
  const client = world.client(options);
  client.connect().catch(() => {});
  const room = client.room("r");
  room.open();
  await world.clock.pass(1_000);
  return { world, client, room };
}

const last = (room: { messages: { get(): { items: readonly { status: string }[] } } }) =>
  room.messages.get().items.at(-1) as { status: string; error?: TidingsError; key: string; seq?: number };

test("the first attempt promises that it is the first, and a repetition does not", async () => {
  const { world, room } = await open();
  let lost = 0;
  world.model.hook = (frame) => (frame.type === "message:send" && lost++ === 0 ? "lose-answer" : undefined);
  room.send("once");
  await world.clock.pass(20_000);
  expect(sends(world).map((frame) => frame.attempt)).toEqual([1, 2]);
  expect(new Set(sends(world).map((frame) => frame.client_id)).size).toBe(1);
  expect(world.model.contents()).toEqual(["once"]);
});

test("one's own message coming back proves that it was accepted, and the row keeps its key", async () => {
  const { world, room } = await open();
  world.model.hook = (frame) => (frame.type === "message:send" ? "lose-answer" : undefined);
  const { key } = room.send("echo");
  await world.clock.pass(100);
  expect(last(room)).toMatchObject({ status: "sent", stored: false, seq: 1, key });
  // However long the answer takes, it is never shown as failed again.
  await world.clock.pass(200_000);
  expect(last(room)).toMatchObject({ status: "sent", key });
  world.model.hook = undefined;
  await world.clock.pass(60_000);
  expect(last(room)).toMatchObject({ status: "sent", stored: true, key });
  expect(world.model.contents()).toEqual(["echo"]);
});

test("without an answer it is sent three more times, after 1, 2 and 4 s, and then has failed", async () => {
  const { world, room, client } = await open();
  const times: number[] = [];
  world.model.hook = (frame) => {
    if (frame.type !== "message:send") return undefined;
    times.push(world.clock.now());
    return "lose";
  };
  room.send("never");
  await world.clock.pass(60_000);
  expect(times.slice(1).map((time, i) => time - (times[i] as number))).toEqual([6_000, 7_000, 9_000]);
  expect(last(room)).toMatchObject({ status: "failed", error: { code: "timeout" } });
  world.model.hook = undefined;
  client.outbox.retryAll();
  await world.clock.pass(1_000);
  expect(last(room)).toMatchObject({ status: "sent", stored: true });
  expect(world.model.contents()).toEqual(["never"]);
});

test.each(["unavailable", "overloaded", "rate_limited"])(
  "%s is waited out, however often it comes",
  async (code) => {
    const { world, room } = await open();
    const times: number[] = [];
    world.model.hook = (frame) => {
      if (frame.type !== "message:send" || times.push(world.clock.now()) > 10) return undefined;
      return { type: "error", code, retry_after_ms: 3_000 };
    };
    room.send("patient");
    await world.clock.pass(60_000);
    expect(times.length).toBe(11);
    for (let i = 1; i < times.length; i++) {
      expect((times[i] as number) - (times[i - 1] as number)).toBeGreaterThanOrEqual(3_000);
    }
    expect(last(room)).toMatchObject({ status: "sent", stored: true });
  },
);

test.each(["bad_request", "forbidden", "not_found", "conflict", "too_large"])(
  "%s is definite",
  async (code) => {
    const { world, room } = await open();
    world.model.hook = (frame) =>
      frame.type === "message:send" ? { type: "error", code, field: "content" } : undefined;
    room.send("no");
    await world.clock.pass(100);
    expect(last(room)).toMatchObject({ status: "failed", error: { code, field: "content" } });
    expect(sends(world).length).toBe(1);
  },
);

test("time without a connection does not count", async () => {
  const { world, room } = await open();
  world.down = true;
  world.cut();
  room.send("offline");
  await world.clock.pass(600_000);
  expect(last(room).status).toBe("sending");
  world.down = false;
  await world.clock.pass(60_000);
  expect(last(room)).toMatchObject({ status: "sent", stored: true });
});

test("the next message of a room goes out only when the one before is accepted", async () => {
  const { world, room, client } = await open({}, new World(["r", "other"]));
  world.model.hook = (frame) => (frame.content === "first" ? "lose" : undefined);
  room.send("first");
  room.send("second");
  client.room("other").send("elsewhere");
  await world.clock.pass(4_000);
  expect(sends(world).map((frame) => frame.content)).toEqual(["first", "elsewhere"]);
  world.model.hook = undefined;
  await world.clock.pass(10_000);
  expect(world.model.contents()).toEqual(["first", "second"]);
});

test("what was accepted and lost with the memory of the server is sent again in its order", async () => {
  const { world, room } = await open();
  world.model.hook = (frame) => (frame.type === "message:send" ? "lose-answer" : undefined);
  const texts = Array.from({ length: 8 }, (_, i) => `${i}`);
  for (const text of texts) {
    room.send(text);
    await world.clock.pass(900);
  }
  expect(world.model.contents()).toEqual(texts);
  world.down = true;
  world.cut();
  world.model.room().log = [];
  world.model.renew();
  world.model.hook = undefined;
  world.down = false;
  await world.clock.pass(60_000);
  expect(world.model.contents()).toEqual(texts);
  expect(room.messages.get().items.map(({ content, stored }) => [content, stored])).toEqual(
    texts.map((text) => [text, true]),
  );
});

test("a void that says rejected is the definite end of what was accepted", async () => {
  const { world, room, client } = await open();
  world.model.hook = (frame) => (frame.type === "message:send" ? "lose-answer" : undefined);
  room.send("bad");
  await world.clock.pass(100);
  const client_id = sends(world)[0]?.client_id;
  world.model.append("r", { type: "message:void", target: 1, client_id, by: "system", reason: "rejected" });
  await world.clock.pass(100);
  expect(last(room)).toMatchObject({ status: "failed", error: { code: "bad_request", reason: "rejected" } });
  world.model.hook = undefined;
  client.outbox.retry(client_id as string);
  await world.clock.pass(1_000);
  // The old client id is taken for ever.
  expect(sends(world).at(-1)?.client_id).not.toBe(client_id);
  expect(last(room)).toMatchObject({ status: "sent", stored: true, content: "bad" });
});

test("a void that says duplicate settles it where it stands", async () => {
  const { world, room, client } = await open();
  world.model.hook = (frame) => (frame.type === "message:send" ? "lose-answer" : undefined);
  room.send("twice");
  await world.clock.pass(100);
  const event = world.model.room().log[0] as Json;
  world.model.append("r", { ...event, seq: 2, id: "other" });
  world.model.append("r", {
    type: "message:void",
    target: 2,
    client_id: event.client_id,
    by: "system",
    reason: "duplicate",
    of: 1,
  });
  await world.clock.pass(100);
  expect(client.outbox.get()).toEqual([]);
  expect(room.messages.get().items.map(({ seq, stored }) => [seq, stored])).toEqual([[1, true]]);
});

test("too many are refused at once", async () => {
  const world = new World();
  const client = world.client({ outboxLimit: 2 });
  client.room("r").send("1");
  client.room("r").send("2");
  expect(() => client.room("r").send("3")).toThrow(TidingsError);
  expect(client.outbox.get().length).toBe(2);
});

test("what waits survives a reload, in order, and is not promised to be new", async () => {
  const storage = disk();
  const first = storage.tab();
  const { world, client } = await open({ storage: first });
  world.down = true;
  world.cut();
  for (const text of ["a", "b", "c"]) client.room("r").send(text);
  await world.clock.pass(100);
  first.kill();
  client.close();
  world.down = false;
  const again = await open({ storage: storage.tab() }, world);
  expect(again.client.outbox.get()).toEqual([]);
  // The tab that wrote them did not say goodbye: for a while it may live.
  await world.clock.pass(30_000);
  expect(world.model.contents()).toEqual(["a", "b", "c"]);
  expect(sends(world).every((frame) => (frame.attempt as number) > 1)).toBe(true);
  expect(await storage.keys?.()).toEqual(["tidings/default/user"]);
});

test("what a tab wrote before it slept is not promised to be new when it wakes up", async () => {
  const { world, room } = await open({ storage: disk().tab() });
  world.down = true;
  world.cut();
  room.send("before the night");
  await world.clock.pass(1_000);
  world.clock.jump(3_600_000);
  world.down = false;
  await world.clock.pass(60_000);
  expect(sends(world).map((frame) => frame.attempt)).toEqual([2]);
});

test("what is taken over stands in front of what was written since", async () => {
  const storage = disk();
  const page = lifecycle();
  const { world, client } = await open({ storage: storage.tab(), lifecycle: page });
  world.down = true;
  world.cut();
  client.room("r").send("earlier");
  await world.clock.pass(100);
  page.tell("hide");
  const next = world.client({ storage: storage.tab() });
  next.room("r").send("later");
  next.connect().catch(() => {});
  await world.clock.pass(1_000);
  expect(next.outbox.get().map(({ content }) => content)).toEqual(["earlier", "later"]);
  world.down = false;
  await world.clock.pass(60_000);
  expect(world.model.contents()).toEqual(["earlier", "later"]);
  client.close();
});

test("a page that says goodbye leaves its messages to the next one at once", async () => {
  const storage = disk();
  const page = lifecycle();
  const { world, client } = await open({ storage: storage.tab(), lifecycle: page });
  world.down = true;
  world.cut();
  client.room("r").send("left");
  await world.clock.pass(100);
  // As pages do that are left.
  page.tell("hide");
  page.tell("hidden");
  world.down = false;
  await open({ storage: storage.tab() }, world);
  await world.clock.pass(500);
  expect(world.model.contents()).toEqual(["left"]);
  client.close();
});

test("what was written before it was known who is here belongs to who was here last", async () => {
  const storage = disk();
  const { world, client } = await open({ storage: storage.tab() });
  client.close();
  world.down = true;
  const offline = world.client({ storage: storage.tab() });
  offline.connect().catch(() => {});
  offline.room("r").send("typed at once");
  await world.clock.pass(500);
  offline.close();
  const next = world.client({ storage: storage.tab() });
  next.connect().catch(() => {});
  await world.clock.pass(500);
  expect(next.outbox.get()).toMatchObject([{ content: "typed at once", status: "sending" }]);
});

test("nobody sends what somebody else has written", async () => {
  const storage = disk();
  const { world, client } = await open({ storage: storage.tab(), user: "alice" });
  world.down = true;
  world.cut();
  client.room("r").send("alice's own");
  await world.clock.pass(100);
  client.close();
  world.down = false;
  const bob = await open({ storage: storage.tab(), user: "bob" }, world);
  await world.clock.pass(60_000);
  expect(bob.client.outbox.get()).toEqual([]);
  expect(world.model.contents()).toEqual([]);
  bob.client.close();
  const alice = await open({ storage: storage.tab(), user: "alice" }, world);
  await world.clock.pass(30_000);
  expect(alice.client.outbox.get()).toEqual([]);
  expect(world.model.contents()).toEqual(["alice's own"]);
});

const broken: [string, StorageAdapter][] = [
  ["full", { ...memoryStorage(), setItem: () => Promise.reject(new Error("full")) }],
  [
    "forbidden",
    {
      getItem: () => {
        throw new Error("no");
      },
      setItem: () => {
        throw new Error("no");
      },
      removeItem: () => {
        throw new Error("no");
      },
      keys: () => {
        throw new Error("no");
      },
    },
  ],
  ["hanging", { ...memoryStorage(), setItem: () => new Promise(() => {}) }],
];

test.each(broken)("a storage that is %s does not keep anything from being sent", async (_, storage) => {
  const { world, room } = await open({ storage });
  room.send("sent all the same");
  await world.clock.pass(5_000);
  expect(last(room)).toMatchObject({ status: "sent", stored: true });
});

test("damaged entries are dropped, and said", async () => {
  const storage = memoryStorage();
  await storage.setItem("tidings/default/out/x", "{half");
  await storage.setItem("tidings/default/out/y", JSON.stringify({ v: 1, owner: "o", clientId: "z" }));
  const { world } = await open({ storage });
  await world.clock.pass(1_000);
  expect(world.errors.length).toBe(2);
  expect((await storage.keys?.())?.filter((key) => key.includes("/out/"))).toEqual([]);
});

test("two tabs that share a storage send each message once, and take over what a dead one left", async () => {
  const storage = disk();
  const one = storage.tab();
  const world = new World();
  const a = await open({ storage: one }, world);
  const b = await open({ storage: storage.tab() }, world);
  world.model.hook = (frame) => (frame.type === "message:send" ? "lose" : undefined);
  a.room.send("from a");
  b.room.send("from b");
  await world.clock.pass(3_000);
  expect(b.client.outbox.get().map(({ content }) => content)).toEqual(["from b"]);
  one.kill();
  a.client.disconnect();
  world.model.hook = undefined;
  await world.clock.pass(60_000);
  expect([...world.model.contents()].sort()).toEqual(["from a", "from b"]);
  expect(b.client.outbox.get()).toEqual([]);
});

type Step =
  | { do: "send"; room: number }
  | { do: "cut" | "down" | "up" | "reload" | "crash" | "renew" }
  | { do: "lose" | "lose-answer" | "refuse"; times: number }
  | { do: "pass"; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("send" as const), room: fc.nat(1) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom("cut" as const, "down", "up", "reload", "crash", "renew") }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom("lose" as const, "lose-answer", "refuse"),
      times: fc.integer({ min: 1, max: 6 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 20_000 }) }),
  },
);

test("whatever is cut, lost and restarted: each message stands once, or is shown as failed, and rooms keep their order", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 40 }),
      fc.constantFrom("websocket" as const, "poll" as const),
      async (steps, transport) => {
        const rooms = ["r", "other"];
        const world = new World(rooms);
        const storage = disk();
        let tab = storage.tab();
        let page = lifecycle();
        const start = () => {
          const client = world.client({ storage: tab, transport, lifecycle: page });
          client.connect().catch(() => {});
          for (const room of rooms) client.room(room).open();
          return client;
        };
        let client = start();
        const sent: Record<string, string[]> = { r: [], other: [] };
        let count = 0;
        let life = 0;
        await world.clock.pass(500);
        for (const one of steps) {
          if (one.do === "send") {
            const room = rooms[one.room] as string;
            const text = `${life}:${++count}`;
            client.room(room).send(text);
            sent[room]?.push(text);
          } else if (one.do === "cut") world.cut();
          else if (one.do === "down") {
            world.down = true;
            world.cut();
          } else if (one.do === "up") world.down = false;
          else if (one.do === "renew") world.model.renew();
          else if (one.do === "reload" || one.do === "crash") {
            // What was just typed is on the disk before a page can be gone.
            await world.clock.pass(10);
            if (one.do === "reload") page.tell("hide");
            else life++;
            tab.kill();
            client.close();
            tab = storage.tab();
            page = lifecycle();
            client = start();
            if (one.do === "reload") await world.clock.pass(0);
          } else if (one.do === "pass") await world.clock.pass(one.ms);
          else if ("times" in one) {
            const { do: fault, times } = one;
            let left = times;
            world.model.hook = (frame) => {
              if (frame.type !== "message:send" || left-- <= 0) return undefined;
              return fault === "refuse" ? { type: "error", code: "unavailable", retry_after_ms: 100 } : fault;
            };
          }
        }
        world.model.hook = undefined;
        world.down = false;
        await world.clock.pass(400_000);
        const failed = new Set(client.outbox.get().map(({ content }) => content));
        for (const room of rooms) {
          const stands = world.model.contents(room) as string[];
          expect(new Set(stands).size).toBe(stands.length);
          const wanted = sent[room] as string[];
          expect([...stands].sort()).toEqual(
            wanted.filter((text) => !failed.has(text) || stands.includes(text)).sort(),
          );
          // Only what failed and came through later may be out of its place; nothing was retried here.
          // A page that crashed may live for all that the next one knows: it does not wait for it.
          for (let i = 0; i <= life && !failed.size; i++) {
            const own = (texts: string[]) => texts.filter((text) => text.startsWith(`${i}:`));
            expect(own(stands)).toEqual(own(wanted));
          }
          expect(client.room(room).state.get().phase).toBe("live");
          const shown = client
            .room(room)
            .messages.get()
            .items.filter(({ seq }) => seq !== undefined);
          expect(shown.map(({ content }) => content)).toEqual(stands.slice(-shown.length));
        }
        expect(client.outbox.get().every(({ status }) => status === "failed")).toBe(true);
        client.close();
        await world.clock.pass(30_000);
        expect(world.clock.pending).toBe(0);
      },
    ),
    { numRuns: Number(process.env.TIDINGS_RUNS ?? 25) },
  );
}, 120_000);
