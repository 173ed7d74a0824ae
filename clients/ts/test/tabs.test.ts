// Several tabs of a browser, each a client, share one storage. Tests which of them sends a message.
import { expect, test } from "vitest";
import { pause } from "../src/timers.js";
import { lifecycle } from "./support/lifecycle.js";
import { type Options, sharedDisk, World } from "./support/world.js";

/** Opens a tab and connects it. */
async function openTab(world: World, options: Options) {
  const client = await world.connected({ account: "alice", ...options });
  return client;
}

/** The origin of a tab whose network is down. */
const noNetwork = () => Promise.reject(new Error("no network"));
const outboxKeys = async (disk: ReturnType<typeof sharedDisk>) =>
  ((await disk.keys?.()) ?? []).filter((key) => /\/(out|tab)\//.test(key));

test("an open tab keeps its unsent messages, and the other tabs send them after it closes", async () => {
  const [world, disk] = [new World(), sharedDisk()];
  const other = await openTab(world, { storage: disk.tab() });
  const offline = await openTab(world, { storage: disk.tab(), url: noNetwork });
  offline.room("r").send("one");
  offline.room("r").send("two");
  await world.clock.pass(300_000);
  expect(other.outbox.get()).toEqual([]);
  expect(world.server.contents()).toEqual([]);
  offline.close();
  await world.clock.pass(30_000);
  expect(world.server.contents()).toEqual(["one", "two"]);
  expect(await outboxKeys(disk)).toEqual([]);
});

test.each([
  ["a fast", 0],
  ["a slow", 50],
])("two tabs that adopt the same messages from %s storage send each once and in order", async (_, ms) => {
  const [world, disk] = [new World(), sharedDisk()];
  const dead = disk.tab();
  const crashed = await openTab(world, { storage: dead });
  world.down = true;
  world.cut();
  for (const text of ["one", "two", "three"]) crashed.room("r").send(text);
  await world.clock.pass(100);
  dead.kill();
  crashed.close();
  world.down = false;
  // Both tabs look for messages in the same millisecond. In the slow storage each sees that the other has taken a
  // message only after it has taken the message itself.
  const storage = {
    ...disk.tab(),
    setItem: async (key: string, value: string) => {
      if (ms > 0) await pause(world.clock, ms).done;
      await disk.setItem(key, value);
    },
  };
  const [one, two] = await Promise.all([openTab(world, { storage }), openTab(world, { storage })]);
  await world.clock.pass(60_000);
  expect(world.server.framesOf("message:send").length).toBe(ms > 0 ? 6 : 3);
  expect(world.server.contents()).toEqual(["one", "two", "three"]);
  expect([...one.outbox.get(), ...two.outbox.get()]).toEqual([]);
  expect(await outboxKeys(disk)).toEqual([]);
});

test("a hidden tab that wakes and the tab that took its message store the message once", async () => {
  const [world, disk] = [new World(), sharedDisk()];
  await openTab(world, { storage: disk.tab() });
  const page = lifecycle();
  let isUp = false;
  const url = () => (isUp ? "http://test" : noNetwork());
  const asleep = await openTab(world, { storage: disk.tab(), lifecycle: page, url });
  asleep.room("r").send("written before the sleep");
  await world.clock.pass(100);
  page.emit("hide");
  await world.clock.pass(60_000);
  expect(world.server.contents()).toEqual(["written before the sleep"]);
  isUp = true;
  page.emit("visible");
  await world.clock.pass(60_000);
  expect(asleep.outbox.get()).toEqual([]);
  expect(world.server.contents()).toEqual(["written before the sleep"]);
  expect(await outboxKeys(disk)).toEqual([]);
});
