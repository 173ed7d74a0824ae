// One person with one client of the kit in one room, and what of the room the kit gave to them.
import { WebSocket } from "ws";
import { TidingsClient } from "../dist/index.js";
import { Notes } from "./notes.mjs";

/** When each message was sent, by its client id: all people are in this process, so their clocks are one. */
const sentAt = new Map();

/** A list gone round and round. */
function inTurn(origins, first) {
  let next = first;
  return () => origins[next++ % origins.length];
}

export class Person {
  #client;
  #room;
  #notes = new Notes();
  #delays = [];
  #broken = [];
  #connections = 0;
  #hereSince = Number.POSITIVE_INFINITY;
  #told = "";
  #waiting = new Map();

  constructor({ user, token, room, gateways, persistence, first }) {
    this.#client = new TidingsClient({
      url: inTurn(gateways, first),
      httpUrl: inTurn(persistence, first),
      token: () => token,
      account: user,
      WebSocket,
      // More than is said while somebody is away: what is trimmed is not looked at.
      windowSize: 1000,
      outboxLimit: 5000,
    });
    this.#room = this.#client.room(room);
    this.#client.on("event", (event) => this.#hear(event));
    let connected = false;
    this.#client.connection.subscribe(() => {
      const now = this.#client.connection.get().state === "connected";
      if (now && !connected) this.#connections += 1;
      connected = now;
    });
    let live = false;
    this.#room.state.subscribe(() => {
      const { phase, error } = this.#room.state.get();
      if (phase === "live" && !live) this.#notes.live(this.#room.messages.get());
      live = phase === "live";
      if (phase === "failed" || phase === "removed")
        this.#broken.push(`the room is ${phase}: ${error?.message}`);
    });
    this.#room.messages.subscribe(() => this.#settle());
  }

  /** Answers once the room is whole and live. */
  async come() {
    this.#hereSince = performance.now();
    const live = this.#until(() => this.#room.state.get().phase === "live");
    this.#release ??= this.#room.open();
    await this.#client.connect();
    await live;
  }

  #release;

  go() {
    this.#hereSince = Number.POSITIVE_INFINITY;
    this.#client.disconnect();
  }

  /** Answers once the message is stored. */
  say(text) {
    const begun = performance.now();
    const { clientId } = this.#room.send(text);
    sentAt.set(clientId, begun);
    return new Promise((stored, refused) => {
      this.#waiting.set(clientId, { begun, stored, refused });
      this.#settle();
    });
  }

  /** Looks at those of one's own messages that are waited for; they stand at the end. */
  #settle() {
    if (this.#waiting.size === 0) return;
    const { items } = this.#room.messages.get();
    for (const message of items.slice(-this.#waiting.size - 500)) {
      const waiting = message.mine ? this.#waiting.get(message.clientId) : undefined;
      if (waiting === undefined || !(message.stored || message.status === "failed")) continue;
      this.#waiting.delete(message.clientId);
      if (message.status === "failed") {
        waiting.refused(message.error ?? new Error("failed without a reason"));
        continue;
      }
      const took_us = Math.round((performance.now() - waiting.begun) * 1000);
      waiting.stored({ client_id: message.clientId, seq: message.seq, message_id: message.id, took_us });
    }
  }

  #hear(event) {
    if (event.room !== this.#room.id) return;
    this.#notes.hear(event);
    const sent = event.type === "message:new" ? sentAt.get(event.client_id) : undefined;
    if (sent !== undefined && sent >= this.#hereSince) {
      this.#delays.push(Math.round((performance.now() - sent) * 1000));
    }
  }

  #until(holds) {
    return new Promise((resolve) => {
      const stop = this.#room.state.subscribe(look);
      function look() {
        if (!holds()) return;
        stop();
        resolve();
      }
      look();
    });
  }

  /** How far they are, how often they connected, how long messages were under way to them; nothing when nothing is new. */
  news() {
    const told = `${this.#notes.cursor} ${this.#connections}`;
    if (told === this.#told && this.#delays.length === 0) return undefined;
    this.#told = told;
    const delays = this.#delays;
    this.#delays = [];
    return [this.#notes.cursor ?? 0, this.#connections, delays];
  }

  /** All that they hold. */
  tell() {
    return { ...this.#notes.told(this.#room.messages.get()), broken: this.#broken };
  }
}
