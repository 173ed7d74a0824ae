// A sender and a receiver with each kit. `send(text)` says something; `heard` counts what the receiver's application was
// given, by text; `open()` tells how many messages are still on their way out; `given_up` those the kit gave up.

import { TidingsClient } from "@tidings/client";
import { createRoom } from "@tidings/client/http";
import { io } from "socket.io-client";
import { WebSocket } from "ws";

// Nobody here stops typing while nothing gets through: more waits than an app would let a person write.
const OUTBOX = 10_000;

const count = (heard, text) => heard.set(text, (heard.get(text) ?? 0) + 1);

/** With this project's kit. */
export async function tidings(system, ports) {
  const httpUrl = system.described.persistence[0];
  const make = (user, port) =>
    new TidingsClient({
      url: `http://127.0.0.1:${port}`,
      httpUrl,
      token: () => system.token(user),
      WebSocket,
      outboxLimit: OUTBOX,
    });
  const sender = make("sender", ports.sender);
  const receiver = make("receiver", ports.receiver);
  await Promise.all([sender.connect(), receiver.connect()]);
  const { room: id } = await createRoom(sender, { kind: "private", members: [{ user: "receiver" }] });
  const heard = new Map();
  receiver.on("event", (event) => {
    if (event.type === "message:new") count(heard, event.content);
  });
  receiver.room(id).open();
  const room = sender.room(id);
  room.open();
  await until(() => receiver.room(id).state.get().phase === "live" && room.state.get().phase === "live");
  return {
    name: "tidings",
    heard,
    // Who is more than 200 messages behind is not told of each: the room is loaded anew, and has them all by page.
    finish: async () => {
      const shown = receiver.room(id);
      while (await shown.loadOlder(200));
      const items = new Map();
      for (const { content } of shown.messages.get().items) count(items, content);
      for (const [text, times] of items) heard.set(text, Math.max(times, heard.get(text) ?? 0));
    },
    send: (text) => room.send(text),
    open: () => sender.outbox.get().filter((entry) => entry.status !== "failed").length,
    givenUp: () => sender.outbox.get().filter((entry) => entry.status === "failed").length,
    close: () => {
      sender.close();
      receiver.close();
    },
  };
}

/** With socket.io-client; with `retries` it repeats what was not acknowledged, as its documentation advises. */
export async function socketIo(ports, retries) {
  const options = { transports: ["websocket"], forceNew: true, auth: { room: `room-${retries}` } };
  const sender = io(`http://127.0.0.1:${ports.sender}`, {
    ...options,
    ...(retries ? { ackTimeout: 5000, retries } : {}),
  });
  const receiver = io(`http://127.0.0.1:${ports.receiver}`, options);
  const heard = new Map();
  let waiting = 0;
  let failed = 0;
  receiver.on("message", (text) => count(heard, text));
  await until(() => sender.connected && receiver.connected);
  return {
    name: retries ? `socket.io, retries: ${retries}` : "socket.io",
    heard,
    send: (text) => {
      waiting += 1;
      const done = (error) => {
        waiting -= 1;
        if (error) failed += 1;
      };
      if (retries) sender.emit("message", text, done);
      else sender.timeout(20_000).emit("message", text, done);
    },
    open: () => waiting,
    givenUp: () => failed,
    close: () => {
      sender.close();
      receiver.close();
    },
  };
}

/** Looks until it is so; a minute at most. */
export async function until(isSo, patienceMs = 60_000) {
  const end = Date.now() + patienceMs;
  while (!isSo()) {
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}
