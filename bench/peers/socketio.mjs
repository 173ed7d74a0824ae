// A chat server with Socket.IO, written as its documentation recommends: tokens, rooms, acks, typing, read marks,
// presence. REDIS_URL: nodes are connected by the Redis adapter. DATABASE_URL: a message is acknowledged after it is
// committed. JWT_SECRET: the secret of tokens (HS256).
//
// All settings are defaults: the `ws` engine, no compression, no connection state recovery, heartbeats every 25 s. The
// same applies to Node.js: `--max-semi-space-size=64` saved no CPU time in a room of 1,000 connections, and used more
// memory.

import { createSecretKey } from 'node:crypto';
import { createServer } from 'node:http';

import { createAdapter } from '@socket.io/redis-adapter';
import { jwtVerify } from 'jose';
import { createClient } from 'redis';
import { Server } from 'socket.io';
import { v7 as uuidv7 } from 'uuid';

import { listen, messageNew } from './serve.mjs';
import { nullStore, openStore } from './store.mjs';

const { DATABASE_URL, JWT_SECRET, REDIS_URL } = process.env;
if (!JWT_SECRET) throw new Error('JWT_SECRET is not set');
const key = createSecretKey(Buffer.from(JWT_SECRET));

const http = createServer();
const io = new Server(http, { transports: ['websocket'], serveClient: false });
if (REDIS_URL) io.adapter(await redisAdapter());
const store = DATABASE_URL ? await openStore(DATABASE_URL) : nullStore();

/**
 * Connects to Redis and creates the adapter. The sharded adapter of the same package is not used: by default it
 * subscribes to a room at the first join and does not wait for the confirmation, so messages that other nodes send
 * right after a join may not arrive.
 */
async function redisAdapter() {
  const publisher = createClient({ url: REDIS_URL });
  const subscriber = publisher.duplicate();
  for (const client of [publisher, subscriber]) client.on('error', (error) => console.error(error));
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return createAdapter(publisher, subscriber);
}

/** An error whose message is sent to the client and not logged. */
class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const isText = (value, maxLength) => typeof value === 'string' && value.length > 0 && value.length <= maxLength;

// Saves memory, as the documentation recommends: the request of the handshake is no longer needed.
io.engine.on('connection', (socket) => {
  socket.request = null;
});

io.use(async (socket, next) => {
  try {
    const { payload } = await jwtVerify(socket.handshake.auth.token, key, { algorithms: ['HS256'] });
    if (!isText(payload.sub, 128)) throw new Error('a token without sub');
    socket.data.sender = isText(payload.name, 512) ? { id: payload.sub, name: payload.name } : { id: payload.sub };
    next();
  } catch {
    next(new Error('unauthorized'));
  }
});

io.on('connection', (socket) => {
  const { sender } = socket.data;
  const joined = new Set();

  /** Registers the handler of an event. If the handler fails, the client gets an `error` event instead of the ack. */
  const handleEvent = (event, handle) => {
    socket.on(event, async (body, done) => {
      try {
        await handle(body ?? {}, typeof done === 'function' ? done : () => {});
      } catch (error) {
        const isRefusal = error instanceof Refusal;
        if (!isRefusal) console.error(error);
        const { room, client_id } = body ?? {};
        const message = isRefusal ? error.message : 'this could not be done';
        socket.emit('error', { event, room, client_id, code: isRefusal ? error.code : 'internal', message });
      }
    });
  };
  const requireJoined = (room) => {
    if (!joined.has(room)) throw new Refusal('not_found', 'you have not joined this room');
  };

  // Any user with a token may join: rooms are only names here.
  handleEvent('room:join', async ({ room }, done) => {
    if (!isText(room, 128)) throw new Refusal('bad_request', 'room is missing');
    await socket.join(room);
    joined.add(room);
    done({ room });
  });

  handleEvent('message:send', async ({ room, client_id: clientId, content }, done) => {
    requireJoined(room);
    if (!isText(clientId, 128)) throw new Refusal('bad_request', 'client_id is missing');
    if (!isText(content, 8000)) throw new Refusal('bad_request', 'content is missing or too long');
    const draft = { id: uuidv7(), room, senderId: sender.id, clientId, content, at: new Date().toISOString() };
    const { seq, id, at, duplicate } = await store.add(draft);
    // The ack is sent before the fan-out, because it does not depend on it.
    done({ room, seq, at, id, client_id: clientId, duplicate });
    if (!duplicate) io.to(room).emit('message:new', messageNew({ room, seq, at, id, clientId, sender, content }));
  });

  handleEvent('typing:start', ({ room }) => {
    requireJoined(room);
    socket.to(room).emit('typing:start', { room, user: sender.id });
  });

  handleEvent('message:read', async ({ room, seq }) => {
    requireJoined(room);
    if (!Number.isSafeInteger(seq) || seq < 1) throw new Refusal('bad_request', 'seq is no position');
    const at = new Date().toISOString();
    const moved = await store.moveReadMark({ room, user: sender.id, seq, at });
    if (moved) io.to(room).emit('receipt:read', { room, user: sender.id, seq, at });
  });

  handleEvent('presence:set', ({ status }) => {
    if (status !== 'online' && status !== 'away') throw new Refusal('bad_request', 'status is unknown');
    // With an empty list of rooms, Socket.IO would send to everybody.
    if (joined.size > 0) socket.to([...joined]).emit('presence:changed', { user: sender.id, status });
  });
});

listen(http);
