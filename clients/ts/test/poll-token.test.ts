import { expect, test } from "vitest";
import { World } from "./support/world.js";

/** A polling client with a token that is valid until `end` is called. */
async function polling(world: World) {
  let number = 1;
  let good = 1;
  let user = "alice";
  const asked: number[] = [];
  world.model.refuse = (token) => Number(token.split(".")[1]) < good;
  const token = () => {
    asked.push(number);
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
  states.length = asked.length = 0;
  return {
    client,
    room,
    states,
    asked,
    end: (of = 1) => {
      good += of;
    },
    become: (other: string) => {
      user = other;
    },
  };
}

test("a token that expires while polling is replaced, and the connection continues", async () => {
  const world = new World();
  const { client, room, states, asked, end } = await polling(world);
  end();
  world.model.appendMessage("between");
  room.send("mine");
  await world.clock.pass(30_000);
  expect(states).toEqual([]);
  expect(asked).toEqual([2]);
  expect(room.messages.get().items.map(({ content }) => content)).toEqual(world.model.contents());
  expect(client.outbox.get()).toEqual([]);
});

test("a second token that is refused in a row ends the polled connection", async () => {
  const world = new World();
  const { client, states, end } = await polling(world);
  end(1_000);
  await world.clock.pass(120_000);
  expect(states).toContain("reconnecting");
  expect(client.connection.get()).toMatchObject({ state: "disconnected", error: { code: "unauthorized" } });
});

test("a token of another user starts a new connection and sends nothing in their name", async () => {
  const world = new World();
  const { client, room, end, become } = await polling(world);
  end();
  become("bob");
  room.send("alice's");
  await world.clock.pass(30_000);
  expect(client.me.get()?.id).toBe("bob");
  expect(world.model.contents()).not.toContain("alice's");
});
