// One person: one client of the kit in one room, and a record of what the kit emitted.
import { WebSocket } from "ws";
import { TidingsClient } from "../dist/index.js";
import { Notes } from "./notes.mjs";

/** When each message was sent, by client id. All persons are in this process, so they share one clock. */
const sentAt = new Map();

/** Returns a function that gives the elements of a list in turn and then starts again. */
function roundRobin(origins, first) {
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
  #connectedSince = Number.POSITIVE_INFINITY;
  #lastUpdate = "";
  #waiting = new Map();

  constructor({ user, token, room, gateways, persistence, first }) {
    this.#client = new TidingsClient({
      url: roundRobin(gateways, first),
      httpUrl: roundRobin(persistence, first),
      token: () => token,
      account: user,
      WebSocket,
      // Larger than the number of messages in any absence, because trimmed rows cannot be compared.
      windowSize: 1000,
      outboxLimit: 5000,
    });
    this.#room = this.#client.room(room);
    this.#client.on("event", (event) => this.#onEvent(event));
    let wasConnected = false;
    this.#client.connection.subscribe(() => {
      const isConnected = this.#client.connection.get().state === "connected";
      if (isConnected && !wasConnected) this.#connections += 1;
      wasConnected = isConnected;
    });
    let wasLive = false;
    this.#room.state.subscribe(() => {
      const { phase, error } = this.#room.state.get();
      if (phase === "live" && !wasLive) this.#notes.onLive(this.#room.messages.get());
      wasLive = phase === "live";
      if (phase === "failed" || phase === "removed")
        this.#broken.push(`the room is ${phase}: ${error?.message}`);
    });
    this.#room.messages.subscribe(() => this.#settle());
  }

  /** Resolves once the room is live. */
  async come() {
    this.#connectedSince = performance.now();
    const live = this.#waitUntil(() => this.#room.state.get().phase === "live");
    this.#release ??= this.#room.open();
    await this.#client.connect();
    await live;
  }

  #release;

  go() {
    this.#connectedSince = Number.POSITIVE_INFINITY;
    this.#client.disconnect();
  }

  /** Resolves once the message is stored. */
  say(text) {
    const begun = performance.now();
    const { clientId } = this.#room.send(text);
    sentAt.set(clientId, begun);
    return new Promise((stored, refused) => {
      this.#waiting.set(clientId, { begun, stored, refused });
      this.#settle();
    });
  }

  /** Resolves the promises of stored messages. Unsent messages are at the end of the list. */
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

  #onEvent(event) {
    if (event.room !== this.#room.id) return;
    this.#notes.onEvent(event);
    const sent = event.type === "message:new" ? sentAt.get(event.client_id) : undefined;
    if (sent !== undefined && sent >= this.#connectedSince) {
      this.#delays.push(Math.round((performance.now() - sent) * 1000));
    }
  }

  #waitUntil(condition) {
    return new Promise((resolve) => {
      const unsubscribe = this.#room.state.subscribe(check);
      function check() {
        if (!condition()) return;
        unsubscribe();
        resolve();
      }
      check();
    });
  }

  /** The cursor, the number of connections and the delivery delays; undefined when nothing changed. */
  update() {
    const update = `${this.#notes.cursor} ${this.#connections}`;
    if (update === this.#lastUpdate && this.#delays.length === 0) return undefined;
    this.#lastUpdate = update;
    const delays = this.#delays;
    this.#delays = [];
    return [this.#notes.cursor ?? 0, this.#connections, delays];
  }

  /** The full record of this person. */
  record() {
    return { ...this.#notes.result(this.#room.messages.get()), broken: this.#broken };
  }
}
