// Creates a sender and a receiver for each kit. `send(text)` sends a message. `received` counts by text how often the
// receiving application got a message. `pending()` is the number of messages that the sender has not finished with, and
// `abandoned()` the number that its kit gave up.

import { TidingsClient } from "@tidings/client";
import { createRoom } from "@tidings/client/http";
import { io } from "socket.io-client";
import { WebSocket } from "ws";

// The sender continues while it is disconnected, so more messages wait here than in a real app.
const OUTBOX_LIMIT = 10_000;

const increment = (received, text) => received.set(text, (received.get(text) ?? 0) + 1);

/** A sender and a receiver with this project's kit. */
export async function connectTidings(system, ports) {
  const httpUrl = system.addresses.persistence[0];
  const createClient = (user, port) =>
    new TidingsClient({
      url: `http://127.0.0.1:${port}`,
      httpUrl,
      token: () => system.token(user),
      WebSocket,
      outboxLimit: OUTBOX_LIMIT,
    });
  const sender = createClient("sender", ports.sender);
  const receiver = createClient("receiver", ports.receiver);
  await Promise.all([sender.connect(), receiver.connect()]);
  const { room: id } = await createRoom(sender, { kind: "private", members: [{ user: "receiver" }] });
  const received = new Map();
  receiver.on("event", (event) => {
    if (event.type === "message:new") increment(received, event.content);
  });
  receiver.room(id).open();
  const room = sender.room(id);
  room.open();
  await waitUntil(() => receiver.room(id).state.get().phase === "live" && room.state.get().phase === "live");
  return {
    name: "tidings",
    received,
    // A client that is more than 200 messages behind reloads the room instead of getting each message as an event.
    // Those messages are counted from the loaded pages.
    finish: async () => {
      const receiverRoom = receiver.room(id);
      while (await receiverRoom.loadOlder(200));
      const shownCounts = new Map();
      for (const { content } of receiverRoom.messages.get().items) increment(shownCounts, content);
      for (const [text, times] of shownCounts) received.set(text, Math.max(times, received.get(text) ?? 0));
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
export async function connectSocketIo(ports, retries) {
  const options = { transports: ["websocket"], forceNew: true, auth: { room: `room-${retries}` } };
  const sender = io(`http://127.0.0.1:${ports.sender}`, {
    ...options,
    ...(retries ? { ackTimeout: 5000, retries } : {}),
  });
  const receiver = io(`http://127.0.0.1:${ports.receiver}`, options);
  const received = new Map();
  let pendingCount = 0;
  let failedCount = 0;
  receiver.on("message", (text) => increment(received, text));
  await waitUntil(() => sender.connected && receiver.connected);
  return {
    name: retries ? `socket.io, retries: ${retries}` : "socket.io",
    received,
    send: (text) => {
      pendingCount += 1;
      const onAck = (error) => {
        pendingCount -= 1;
        if (error) failedCount += 1;
      };
      if (retries) sender.emit("message", text, onAck);
      else sender.timeout(20_000).emit("message", text, onAck);
    },
    pending: () => pendingCount,
    abandoned: () => failedCount,
    close: () => {
      sender.close();
      receiver.close();
    },
  };
}

/** Waits until the condition is true. Returns false when it is still false after the timeout. */
export async function waitUntil(condition, timeoutMs = 60_000) {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}
