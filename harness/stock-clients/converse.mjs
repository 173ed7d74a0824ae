// A conversation of two users, each with a stock Socket.IO client. Argument: JSON {version, transports, urls, tokens,
// room, head, persistence, count}. `urls` and `tokens` have one entry per user, `head` is the cursor at which both
// join, and `count` is the number of messages that each user sends. Prints {"ready":true} when both have joined, and at
// the end one line per user: {user, messages, violations, connects, transport}.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

const options = JSON.parse(process.argv[2]);
const module = await import(`socket.io-client-${options.version}`);
const io = module.io ?? module.default.io ?? module.default;

const ANSWER_TIMEOUT_MS = 10_000;
const RETRY_PAUSE_MS = 200;
const PAGE_LIMIT = 200;
/** Time to wait for late and duplicate copies after the last message. */
const SETTLE_MS = 500;
const TEMPORARY = ['unavailable', 'overloaded', 'rate_limited'];

/** A user who always reconnects, joins at the cursor, fills gaps, and retries each message until it is stored. */
class User {
  messages = [];
  violations = [];
  connects = 0;
  lastAcked = 0;
  #cursor = { ...options.head };
  #joinedEpoch;
  #filling;
  #joined;
  #whenJoined;
  #disconnected = new Set();

  constructor(number) {
    this.number = number;
    this.#expectJoin();
    this.socket = io(options.urls[number], {
      auth: { token: options.tokens[number] },
      transports: options.transports,
      forceNew: true,
      reconnectionDelay: 100,
      reconnectionDelayMax: 1000,
    });
    this.socket.on('connect', () => this.#join());
    this.socket.on('connect_error', (error) => this.#connectAgain(error.data !== undefined));
    this.socket.on('disconnect', () => {
      this.#expectJoin();
      for (const fail of this.#disconnected) fail();
      this.#connectAgain();
    });
    this.socket.on('message:new', (event) => this.#receive(event));
    this.socket.on('room:caught_up', ({ epoch, seq }) => this.#afterFill(() => this.#caughtUp(epoch, seq)));
    this.socket.on('room:gap', (gap) => this.#fill(gap));
  }

  get seq() {
    return this.#cursor.seq;
  }

  get whenJoined() {
    return this.#whenJoined;
  }

  #expectJoin() {
    this.#whenJoined = new Promise((resolve) => {
      this.#joined = resolve;
    });
  }

  /** The client does not reconnect by itself after the server has disconnected or refused it. */
  async #connectAgain(isRefused = false) {
    await sleep(RETRY_PAUSE_MS);
    // In version 4.0, a refused client counts as active.
    if (isRefused) this.socket.disconnect();
    if (!this.socket.active) this.socket.connect();
  }

  async #join() {
    this.connects += 1;
    this.#joinedEpoch = undefined;
    this.#filling = undefined;
    for (;;) {
      const answer = await this.ask('room:join', { room: options.room, after: this.#cursor }).catch(() => undefined);
      if (answer?.type === 'room:joined') {
        this.#joinedEpoch = answer.rooms[0].head.epoch;
        this.#joined();
        return;
      }
      if (!this.socket.connected) return;
      if (answer && !TEMPORARY.includes(answer.code)) this.violations.push(`join: ${JSON.stringify(answer)}`);
      await sleep(answer?.retry_after_ms ?? RETRY_PAUSE_MS);
    }
  }

  #caughtUp(epoch, seq) {
    if (seq < this.#cursor.seq) this.violations.push(`caught up at ${seq}, below ${this.#cursor.seq}`);
    this.#cursor = { epoch, seq };
  }

  #receive(event) {
    this.#afterFill(() => {
      if (event.seq <= this.#cursor.seq) {
        this.violations.push(`${event.seq} came after ${this.#cursor.seq}`);
        return;
      }
      this.#cursor = { epoch: this.#joinedEpoch ?? this.#cursor.epoch, seq: event.seq };
      this.#keep(event);
    });
  }

  #keep({ seq, id, client_id, sender, content }) {
    this.messages.push({ seq, id, client_id, sender: sender.id, content });
  }

  /** Calls `act` now, or, while a gap is filled, after the fill. */
  #afterFill(act) {
    if (this.#filling) this.#filling.held.push(act);
    else act();
  }

  async #fill(gap) {
    const fill = { held: [] };
    this.#filling = fill;
    this.#cursor = { epoch: gap.head.epoch, seq: Math.min(this.#cursor.seq, gap.after) };
    this.messages = this.messages.filter((message) => message.seq <= this.#cursor.seq);
    while (this.#filling === fill && this.#cursor.seq < gap.head.seq) {
      const query = new URLSearchParams({
        after: this.#cursor.seq,
        epoch: this.#cursor.epoch,
        upto: gap.head.seq,
        limit: PAGE_LIMIT,
      });
      const address = `${options.persistence}/v1/rooms/${encodeURIComponent(options.room)}/events?${query}`;
      const headers = { authorization: `Bearer ${options.tokens[this.number]}` };
      const answer = await fetch(address, { headers }).catch(() => undefined);
      if (this.#filling !== fill) return;
      if (!answer?.ok) {
        await sleep(RETRY_PAUSE_MS);
        continue;
      }
      const page = await answer.json();
      for (const event of page.events) {
        const isInside = event.seq > this.#cursor.seq && event.seq <= gap.head.seq;
        if (event.type === 'message:new' && isInside) this.#keep(event);
      }
      this.#cursor.seq = Math.max(this.#cursor.seq, Math.min(page.next.seq, gap.head.seq));
    }
    if (this.#filling !== fill) return;
    this.#filling = undefined;
    for (const act of fill.held) act();
  }

  /** Sends an event, and resolves to the argument of its ack. Rejects after a disconnect or when no ack comes. */
  ask(event, content) {
    return new Promise((resolve, reject) => {
      const end = (settle) => {
        clearTimeout(timer);
        this.#disconnected.delete(fail);
        settle();
      };
      const fail = () => end(() => reject(new Error(`no ack of ${event}`)));
      const timer = setTimeout(fail, ANSWER_TIMEOUT_MS);
      this.#disconnected.add(fail);
      this.socket.emit(event, content, (answer) => end(() => resolve(answer)));
    });
  }

  /** Sends a message, and retries it until it is stored. */
  async say(content) {
    const clientId = randomUUID();
    for (let attempt = 1; ; attempt += 1) {
      await this.whenJoined;
      const message = { room: options.room, client_id: clientId, content, attempt };
      const answer = await this.ask('message:send', message).catch(() => undefined);
      if (answer?.type === 'ack' && answer.stage === 'stored') {
        this.lastAcked = Math.max(this.lastAcked, answer.seq);
        return;
      }
      if (answer && !TEMPORARY.includes(answer.code)) throw new Error(JSON.stringify(answer));
      await sleep(answer?.retry_after_ms ?? RETRY_PAUSE_MS);
    }
  }
}

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const users = options.urls.map((_, number) => new User(number));
await Promise.all(users.map((user) => user.whenJoined));
print({ ready: true });
await Promise.all(
  users.map(async (user) => {
    for (let number = 0; number < options.count; number += 1) await user.say(`${user.number} says ${number}`);
  }),
);
const last = Math.max(...users.map((user) => user.lastAcked));
while (users.some((user) => user.seq < last)) await sleep(50);
await sleep(SETTLE_MS);
for (const user of users) {
  const { number, messages, violations, connects } = user;
  print({ user: number, messages, violations, connects, transport: user.socket.io.engine.transport.name });
}
// Ends after all output was written, although sockets are open.
process.stdout.write("", () => process.exit(0));
