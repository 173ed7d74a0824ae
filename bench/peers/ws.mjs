// Raw fan-out with Node's `ws`: the cost of a room without a framework, tokens and storage. GET /?room=R&user=U joins
// R. A text message {client_id, content, ref} goes to everyone in the room as an event, and {"type":"ack","ref":…}
// answers it.

import { createServer } from 'node:http';

import { v7 as uuidv7 } from 'uuid';
import { Sender, WebSocket, WebSocketServer } from 'ws';

import { listen, messageNew } from './serve.mjs';

/** @type {Map<string, {seq: number, clients: Set<WebSocket>}>} */
const rooms = new Map();

function getOrCreateRoom(name) {
  let room = rooms.get(name);
  if (!room) {
    room = { seq: 0, clients: new Set() };
    rooms.set(name, room);
  }
  return room;
}

/**
 * Sends a text to all clients. The frame is encoded once, as one buffer; `send` would write a header and a payload for
 * each client. Socket.IO's adapter uses the same two functions of `ws`. They bypass the queue of `ws`, which is always
 * empty because nothing is compressed.
 */
function broadcast(clients, text) {
  const frame = Buffer.concat(
    Sender.frame(Buffer.from(text), { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: true }),
  );
  for (const client of clients) {
    if (client.readyState === WebSocket.OPEN) client._sender.sendFrame([frame]);
  }
}

const http = createServer();
// Compression is off by default. This server keeps the clients of each room itself, so `ws` need not track clients.
const server = new WebSocketServer({ server: http, clientTracking: false });

server.on('connection', (socket, request) => {
  const query = new URL(request.url, 'http://localhost').searchParams;
  const name = query.get('room') ?? '';
  const sender = { id: query.get('user') ?? '' };
  const room = getOrCreateRoom(name);
  room.clients.add(socket);
  socket.on('close', () => {
    room.clients.delete(socket);
    if (room.clients.size === 0) rooms.delete(name);
  });
  // Without a listener, an error would end the process. `close` follows every error.
  socket.on('error', () => {});
  socket.on('message', (data) => {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      socket.send('{"type":"error","code":"bad_request"}');
      return;
    }
    const { client_id: clientId, content, ref } = message;
    const at = new Date().toISOString();
    room.seq += 1;
    const event = messageNew({ room: name, seq: room.seq, at, id: uuidv7(), clientId, sender, content });
    socket.send(JSON.stringify({ type: 'ack', ref }));
    broadcast(room.clients, JSON.stringify({ type: 'message:new', ...event }));
  });
});

listen(http);
