// A conversation of two clients of an application on a gateway with the application's dialect. The clients are stock
// Socket.IO clients and know only the application's events. Argument: JSON {version, application, url, persistence,
// tokens, count}. Each user sends `count` messages. Fails if a message is missing, doubled or in another order for the
// other user. Prints the texts in the order of arrival.

import assert from 'node:assert/strict';

const options = JSON.parse(process.argv[2]);
const module = await import(`socket.io-client-${options.version}`);
const io = module.io ?? module.default.io ?? module.default;

const TIMEOUT_MS = 20_000;

/** Fails instead of waiting for ever. */
function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), TIMEOUT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The arguments of the next event with this name that fits. */
function next(socket, event, fits = () => true) {
  const come = new Promise((resolve) => {
    const listener = (...args) => {
      if (!fits(...args)) return;
      socket.off(event, listener);
      resolve(args);
    };
    socket.on(event, listener);
  });
  return within(come, event);
}

/** Emits an event, and resolves to the first argument of its callback. */
function ask(socket, event, ...args) {
  return within(new Promise((resolve) => socket.emit(event, ...args, resolve)), `the callback of ${event}`);
}

/** Emits an event, and resolves to the arguments of the event that follows. */
function request(socket, event, argument, answer) {
  const come = next(socket, answer);
  socket.emit(event, argument);
  return come;
}

async function post(user, room, content) {
  const response = await fetch(`${options.persistence}/v1/rooms/${room}/messages`, {
    method: 'POST',
    headers: { authorization: `Bearer ${options.tokens[user.number]}`, 'content-type': 'application/json' },
    body: JSON.stringify({ client_id: crypto.randomUUID(), content }),
  });
  assert.equal(response.status, 201);
  return (await response.json()).id;
}

/**
 * How the clients of each application join, send and read. `send` resolves to the id of the message. `receive` turns the
 * arguments of the event into the id and the text. `more` tests what only this application has.
 */
const applications = {
  rooms: {
    event: 'message',
    join: async ({ socket }) => {
      const [joined] = await request(socket, 'join', { room: 'tea time' }, 'joined');
      // Both join at the same time, and one of them creates the room.
      assert.equal(joined.room, 'tea time');
      assert.ok(joined.members === 1 || joined.members === 2);
    },
    send: async ({ socket }, message) => (await ask(socket, 'send_message', { room: 'tea time', message })).id,
    receive: ({ id, room, message }) => ({ id, room, text: message }),
    room: 'tea time',
    more: async (ann) => {
      // A name that is too long to be hashed.
      const room = 'x'.repeat(600);
      const [error] = await request(ann.socket, 'join', { room }, 'error');
      assert.equal(error.code, 'bad_request');
      const refused = await ask(ann.socket, 'join', { room });
      assert.deepEqual([refused.success, refused.code], [false, 'bad_request']);
      const [left] = await request(ann.socket, 'leave', { room: 'tea time' }, 'left');
      assert.deepEqual(left, { room: 'tea time' });
    },
  },
  chat: {
    event: 'message:new',
    join: async ({ socket }) => {
      assert.deepEqual(await ask(socket, 'chat:join', { chatId: 'a' }), { success: true, chatId: 'a' });
    },
    send: async ({ socket }, content) => {
      const clientMessageId = crypto.randomUUID();
      const answer = await ask(socket, 'message:send', { chatId: 'a', content, clientMessageId });
      assert.equal(answer.clientMessageId, clientMessageId);
      return answer.messageId;
    },
    receive: ({ id, chatId, content }) => ({ id, room: chatId, text: content }),
    room: 'a',
    more: async (ann, ben) => {
      const typing = next(ann.socket, 'typing:start');
      ben.socket.emit('typing:start', { chatId: 'a' });
      assert.deepEqual(await typing, [{ chatId: 'a', userId: 'ben' }]);
      const messageId = ben.received.at(-1).id;
      const read = next(ann.socket, 'message:read', (mark) => mark.messageId === messageId);
      assert.deepEqual(await ask(ben.socket, 'message:read', { chatId: 'a', messageId }), { success: true });
      assert.equal((await read)[0].userId, 'ben');
      const status = next(ann.socket, 'user:status', (user) => user.userId === 'ben' && user.status === 'away');
      ben.socket.emit('user:status', { status: 'busy' });
      await status;
    },
  },
  mobile: {
    event: 'new_message',
    join: async ({ socket }) => {
      assert.deepEqual(await ask(socket, 'join_room', 'a'), { success: true, roomId: 'a' });
    },
    // Sends each message three times, as an application does that gets no callback in time.
    send: async ({ socket }, text) => {
      const message = { room_id: 'a', text, client_message_id: crypto.randomUUID() };
      const answers = [];
      for (let attempt = 0; attempt < 3; attempt += 1) answers.push(await ask(socket, 'send_message', message));
      assert.ok(answers.every((answer) => answer.success && Number.isInteger(answer.timestamp)));
      assert.equal(new Set(answers.map((answer) => answer.messageId)).size, 1);
      return answers[0].messageId;
    },
    receive: (room, { messageId, text }) => ({ id: messageId, room, text }),
    room: 'a',
    more: async (ann, ben) => {
      const typing = next(ann.socket, 'typing');
      ben.socket.emit('typing', 'a', true);
      assert.deepEqual(await typing, ['a', 'ben', true]);
      const messageId = ben.received.at(-1).id;
      const read = next(ann.socket, 'message_read', (_room, _user, id) => id === messageId);
      await ask(ben.socket, 'mark_read', 'a', messageId);
      assert.deepEqual(await read, ['a', 'ben', messageId]);
      const refused = await ask(ann.socket, 'send_message', { room_id: 'nowhere', text: 'x' });
      assert.deepEqual([refused.success, refused.error], [false, 'not_found']);
    },
  },
  portal: {
    event: 'new_message',
    join: async ({ socket }) => {
      assert.deepEqual(await request(socket, 'join_chat', { chat_id: 42 }, 'joined_chat'), [{ chat_id: 42 }]);
    },
    send: (user, text) => post(user, 'chat-42', text),
    receive: ({ id, chat_id, body }) => ({ id, room: chat_id, text: body }),
    room: 42,
    more: async (ann, ben) => {
      const typing = next(ann.socket, 'user_typing');
      ben.socket.emit('user_typing', { chat_id: 42, is_typing: true });
      assert.deepEqual(await typing, [{ chat_id: 42, user_id: 'ben', is_typing: true }]);
      await request(ann.socket, 'leave_chat', { chat_id: 42 }, 'left_chat');
    },
  },
  broadcast: {
    event: 'chat message',
    join: ({ ready }) => ready,
    send: async ({ socket }, text) => (await ask(socket, 'chat message', text)).id,
    receive: (text, { id }) => ({ id, room: undefined, text }),
    room: undefined,
    more: async (ann, ben) => {
      const typing = next(ann.socket, 'typing');
      ben.socket.emit('typing');
      assert.deepEqual(await typing, ['ben']);
    },
  },
};

const application = applications[options.application];

class User {
  received = [];

  constructor(number) {
    this.number = number;
    this.socket = io(options.url, { auth: { token: options.tokens[number] }, forceNew: true });
    this.connected = next(this.socket, 'connect');
    // Only some applications tell that a client is ready.
    if (options.application === 'broadcast') this.ready = next(this.socket, 'ready');
    this.socket.on(application.event, (...args) => this.received.push(application.receive(...args)));
  }
}

const users = [new User(0), new User(1)];
await Promise.all(users.map((user) => user.connected));
await Promise.all(users.map((user) => application.join(user)));
const sent = await Promise.all(
  users.map(async (user) => {
    const ids = [];
    for (let number = 0; number < options.count; number += 1) {
      ids.push(await application.send(user, `${user.number} says ${number}`));
    }
    return ids;
  }),
);
const deadline = Date.now() + TIMEOUT_MS;
while (users.some((user) => user.received.length < 2 * options.count) && Date.now() < deadline) {
  await new Promise((resolve) => setTimeout(resolve, 20));
}
await application.more(...users);
for (const { received } of users) {
  assert.deepEqual(received, users[0].received);
  assert.deepEqual(new Set(received.map(({ id }) => id)), new Set(sent.flat()));
  assert.equal(received.length, 2 * options.count);
  assert.ok(received.every(({ room }) => room === application.room));
}
process.stdout.write(`${JSON.stringify(users[0].received.map(({ text }) => text))}\n`);
// Ends after all output was written, although sockets are open.
process.stdout.write("", () => process.exit(0));
