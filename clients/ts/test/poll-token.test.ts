import { expect, test } from "vitest";
import { World } from "./support/world.js";

/** A polling client with a token that is valid until `expireToken` is called. */
async function pollingClient(world: World) {
  let number = 1;
  let firstValid = 1;
  let user = "alice";
  const tokenRequests: number[] = [];
  world.server.refuse = (token) => Number(token.split(".")[1]) < firstValid;
  const token = () => {
    tokenRequests.push(number);
    return `${user}.${number++}`;
  };
  const client = world.client({ transport: "poll", token });
  const states: string[] = [];
  client.connection.subscribe(() => states.push(client.connection.get().state));
  client.connect().catch(() => {});
  const room = client.room("r");
  room.open();
  await world.clock.pass(2_000);
  expect(client.connection.get().state).toBe("connected");
  states.length = tokenRequests.length = 0;
  return {
    client,
    room,
    states,
    tokenRequests,
    expireToken: (of = 1) => {
      firstValid += of;
    },
    switchUser: (other: string) => {
      user = other;
    },
  };
}

test("a token that expires while polling is replaced, and the connection continues", async () => {
  const world = new World();
  const { client, room, states, tokenRequests, expireToken } = await pollingClient(world);
  expireToken();
  world.server.appendMessage("between");
  room.send("mine");
  await world.clock.pass(30_000);
  expect(states).toEqual([]);
  expect(tokenRequests).toEqual([2]);
  expect(room.messages.get().items.map(({ content }) => content)).toEqual(world.server.contents());
  expect(client.outbox.get()).toEqual([]);
});

test("a second token that is refused in a row ends the polled connection", async () => {
  const world = new World();
  const { client, states, expireToken } = await pollingClient(world);
  expireToken(1_000);
  await world.clock.pass(120_000);
  expect(states).toContain("reconnecting");
  expect(client.connection.get()).toMatchObject({ state: "disconnected", error: { code: "unauthorized" } });
});

test("a token of another user starts a new connection and sends nothing in their name", async () => {
  const world = new World();
  const { client, room, expireToken, switchUser } = await pollingClient(world);
  expireToken();
  switchUser("bob");
  room.send("alice's");
  await world.clock.pass(30_000);
  expect(client.me.get()?.id).toBe("bob");
  expect(world.server.contents()).not.toContain("alice's");
});
