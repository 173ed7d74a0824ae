// A stock Socket.IO client whose connection is cut again and again while another client sends. It relies on connection
// state recovery: it joins its rooms once, and does nothing after a reconnect. Argument: JSON {version, transports,
// urls, tokens, rooms, count, joinsAtConnect, tail}. The client joins `rooms`, in the CONNECT packet or by events. It
// connects to the URLs in turn. `count` is the number of messages per room and cut, and `tail` is more messages than a
// room can replay. Fails if a message is missing, doubled or in another order. Prints how many messages came per room.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

const options = JSON.parse(process.argv[2]);
const module = await import(`socket.io-client-${options.version}`);
const io = module.io ?? module.default.io ?? module.default;

const TIMEOUT_MS = 30_000;
/** Copies that come twice or late are noticed within this time. */
const SETTLE_MS = 500;
const CUTS = 6;
const { rooms } = options;

/** Fails instead of waiting for ever. */
function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), TIMEOUT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function next(socket, event) {
  return within(new Promise((resolve) => socket.once(event, resolve)), event);
}

function ask(socket, event, content) {
  const asked = new Promise((resolve) => socket.emit(event, content, resolve));
  return within(asked, `the callback of ${event}`);
}

async function until(condition, what) {
  const deadline = Date.now() + TIMEOUT_MS;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `${what} did not come: ${JSON.stringify(received)}`);
    await sleep(10);
  }
}

const auth = { token: options.tokens[1], ...(options.joinsAtConnect && { rooms }) };
const sender = io(options.urls[0], { auth: { token: options.tokens[0] }, forceNew: true });
const receiver = io(options.urls[0], {
  auth,
  transports: options.transports,
  forceNew: true,
  reconnection: false,
});

const sent = Object.fromEntries(rooms.map((room) => [room, []]));
const received = Object.fromEntries(rooms.map((room) => [room, []]));
const gaps = [];
let caughtUp = 0;
/** Called after each message. */
let onMessage = () => {};
receiver.on('message:new', ({ room, content }) => {
  received[room].push(content);
  onMessage();
});
receiver.on('room:caught_up', () => {
  caughtUp += 1;
});
receiver.on('room:gap', ({ room }) => gaps.push(room));

async function send(room) {
  const content = `message ${sent[room].length}`;
  sent[room].push(content);
  const answer = await ask(sender, 'message:send', { room, client_id: crypto.randomUUID(), content });
  assert.equal(answer.type, 'ack', JSON.stringify(answer));
}

function sendToAll(count) {
  return Promise.all(Array.from({ length: count }, () => rooms.map(send)).flat());
}

/** Ends the connection as a lost network does, where the transport allows it. */
function cut() {
  const { transport } = receiver.io.engine;
  if (transport.name === 'websocket') transport.ws.terminate();
  else receiver.io.engine.close();
}

let attempts = 0;
/** Connects to the next gateway. Resolves to whether the connection was recovered. */
async function connectAgain() {
  attempts += 1;
  receiver.io.uri = options.urls[attempts % options.urls.length];
  const connected = next(receiver, 'connect');
  receiver.connect();
  await connected;
  return receiver.recovered === true;
}

async function join(room) {
  const answer = await ask(receiver, 'room:join', { room });
  assert.equal(answer.type, 'room:joined', JSON.stringify(answer));
}

await Promise.all([next(sender, 'connect'), next(receiver, 'connect')]);
assert.ok(!receiver.recovered);
if (!options.joinsAtConnect) for (const room of rooms) await join(room);
await until(() => caughtUp >= rooms.length, 'room:caught_up');

for (let number = 0; number < CUTS; number += 1) {
  const disconnected = next(receiver, 'disconnect');
  // Events are on their way when the connection ends.
  let missing = Math.floor((number * rooms.length * options.count) / CUTS);
  onMessage = () => {
    missing -= 1;
    // Not from within the listener: the client would keep the other packets of the same poll, and deliver them again
    // after its reconnect, with any server.
    if (missing === 0) setImmediate(cut);
  };
  if (missing === 0) cut();
  await sendToAll(options.count);
  await disconnected;
  onMessage = () => {};
  assert.ok(await connectAgain(), `not recovered after cut ${number}`);
  const isComplete = (room) => received[room].length >= sent[room].length;
  await until(() => rooms.every(isComplete), `messages after cut ${number}`);
}
await sleep(SETTLE_MS);
assert.deepEqual(received, sent);

// A room that was left shortly before the connection ended stays left, and the others stay joined.
const [left, ...others] = rooms;
assert.equal((await ask(receiver, 'room:leave', { room: left })).type, 'room:left');
let disconnected = next(receiver, 'disconnect');
cut();
await disconnected;
await sendToAll(1);
assert.ok(await connectAgain(), 'not recovered after leaving a room');
await sendToAll(1);
await until(() => others.every((room) => received[room].length >= sent[room].length), 'messages of joined rooms');
await sleep(SETTLE_MS);
assert.equal(received[left].length, sent[left].length - 2, 'messages of a room that was left');
assert.deepEqual(gaps, []);

// What the memory of the rooms does not reach is not recovered: the client begins anew.
disconnected = next(receiver, 'disconnect');
cut();
await disconnected;
const texts = structuredClone(received);
await Promise.all(Array.from({ length: options.tail }, () => send(others[0])));
caughtUp = 0;
assert.ok(!(await connectAgain()), 'recovered without the missed events');
if (!options.joinsAtConnect) for (const room of rooms) await join(room);
await until(() => caughtUp >= rooms.length, 'room:caught_up');
await sleep(SETTLE_MS);
assert.deepEqual(received, texts, 'events came from a connection that was not recovered');
// The new connection is recovered again.
disconnected = next(receiver, 'disconnect');
cut();
await disconnected;
await sendToAll(1);
assert.ok(await connectAgain(), 'not recovered after beginning anew');
await until(() => rooms.every((room) => received[room].length > texts[room].length), 'messages of the new connection');
process.stdout.write(`${JSON.stringify(rooms.map((room) => texts[room].length))}\n`);
// Ends after all output was written, although sockets are open.
process.stdout.write('', () => process.exit(0));
