// Creates a sender and a receiver for each kit. `send(text)` sends a message. `received` counts by text how often the
// receiving application got a message. `pending()` is the number of messages that the sender has not finished with, and
// `abandoned()` the number that its kit gave up.

import { TidingsClient } from "@tidings/client";
import { createRoom } from "@tidings/client/http";
import { io } from "socket.io-client";
import { WebSocket } from "ws";

// The sender keeps sending while it is cut off, so more messages wait here than in a real app.
const OUTBOX_LIMIT = 10_000;

const count = (received, text) => received.set(text, (received.get(text) ?? 0) + 1);

/** A sender and a receiver with this project's kit. */
export async function tidings(system, ports) {
  const httpUrl = system.described.persistence[0];
  const make = (user, port) =>
    new TidingsClient({
      url: `http://127.0.0.1:${port}`,
      httpUrl,
      token: () => system.token(user),
      WebSocket,
      outboxLimit: OUTBOX_LIMIT,
    });
  const sender = make("sender", ports.sender);
  const receiver = make("receiver", ports.receiver);
  await Promise.all([sender.connect(), receiver.connect()]);
  const { room: id } = await createRoom(sender, { kind: "private", members: [{ user: "receiver" }] });
  const received = new Map();
  receiver.on("event", (event) => {
    if (event.type === "message:new") count(received, event.content);
  });
  receiver.room(id).open();
  const room = sender.room(id);
  room.open();
  await until(() => receiver.room(id).state.get().phase === "live" && room.state.get().phase === "live");
  return {
    name: "tidings",
    received,
    // A client that is more than 200 messages behind reloads the room instead of getting each message as an event.
    // Those messages are counted from the loaded pages.
    finish: async () => {
      const shown = receiver.room(id);
      while (await shown.loadOlder(200));
      const items = new Map();
      for (const { content } of shown.messages.get().items) count(items, content);
      for (const [text, times] of items) received.set(text, Math.max(times, received.get(text) ?? 0));
    },
    send: (text) => room.send(text),
    pending: () => sender.outbox.get().filter((entry) => entry.status !== "failed").length,
    abandoned: () => sender.outbox.get().filter((entry) => entry.status === "failed").length,
    close: () => {
      sender.close();
      receiver.close();
    },
  };
}

/** A sender and a receiver with socket.io-client. With `retries` it repeats unacknowledged messages, as documented. */
export async function socketIo(ports, retries) {
  const options = { transports: ["websocket"], forceNew: true, auth: { room: `room-${retries}` } };
  const sender = io(`http://127.0.0.1:${ports.sender}`, {
    ...options,
    ...(retries ? { ackTimeout: 5000, retries } : {}),
  });
  const receiver = io(`http://127.0.0.1:${ports.receiver}`, options);
  const received = new Map();
  let waiting = 0;
  let failed = 0;
  receiver.on("message", (text) => count(received, text));
  await until(() => sender.connected && receiver.connected);
  return {
    name: retries ? `socket.io, retries: ${retries}` : "socket.io",
    received,
    send: (text) => {
      waiting += 1;
      const done = (error) => {
        waiting -= 1;
        if (error) failed += 1;
      };
      if (retries) sender.emit("message", text, done);
      else sender.timeout(20_000).emit("message", text, done);
    },
    pending: () => waiting,
    abandoned: () => failed,
    close: () => {
      sender.close();
      receiver.close();
    },
  };
}

/** Waits until the condition is true. Returns false when it is still false after the timeout. */
export async function until(condition, timeoutMs = 60_000) {
  const end = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}
