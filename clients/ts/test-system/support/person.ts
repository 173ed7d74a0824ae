/** Somebody with the kit in their hands, and a record of all that it told. */
import WebSocket from "ws";
import {
  type ClientOptions,
  type ConnectionState,
  type LogEvent,
  type Message,
  type ServerFrame,
  TidingsClient,
  type TidingsError,
  type WebSocketConstructor,
} from "../../src/index.js";
import type { Stack } from "../stack.js";
import { chance, pick } from "./chance.js";
import { until } from "./until.js";

/** How a person differs from others. */
export interface PersonOptions extends Partial<ClientOptions> {
  /** Which gateways they know, and take by chance; all of them unless told. */
  readonly gateways?: readonly number[];
  readonly name?: string;
}

/** A user of the system. */
export class Person {
  readonly client: TidingsClient;
  /** Every state of the connection, in order, each change once. */
  readonly states: ConnectionState[] = [];
  readonly events: LogEvent[] = [];
  readonly frames: ServerFrame[] = [];
  readonly errors: TidingsError[] = [];
  /** How often a token was asked for. */
  tokens = 0;
  readonly #releases = new Map<string, () => void>();

  constructor(
    readonly stack: Stack,
    readonly id: string,
    options: PersonOptions = {},
  ) {
    const { gateways = stack.gateways.map((_, number) => number), name, ...given } = options;
    const random = chance(id.length);
    this.client = new TidingsClient({
      url: () => stack.gateway(pick(random, gateways)),
      httpUrl: stack.http(),
      WebSocket: WebSocket as unknown as WebSocketConstructor,
      // Pauses at a tenth of their longest: the same in every run, and short.
      random: () => 0.1,
      ...given,
      token: async () => {
        this.tokens++;
        return (await given.token?.()) ?? stack.token(id, name === undefined ? {} : { name });
      },
      onError: (error) => {
        this.errors.push(error);
        given.onError?.(error);
      },
    });
    const look = () => {
      const { state } = this.client.connection.get();
      if (state !== this.states.at(-1)) this.states.push(state);
    };
    this.client.connection.subscribe(look);
    this.client.on("event", (event) => void this.events.push(event));
    this.client.on("frame", (frame) => void this.frames.push(frame));
  }

  /** Where the connection stands. */
  get state(): ConnectionState {
    return this.client.connection.get().state;
  }

  /** The rows held of a room. */
  rows(room: string): readonly Message[] {
    return this.client.room(room).messages.get().items;
  }

  /** What the rows of a room say. */
  texts(room: string): string[] {
    return this.rows(room).map(({ content }) => content);
  }

  /** The room that list tells of. */
  listed(room: string) {
    return this.client.rooms.get().items.find(({ id }) => id === room);
  }

  /** Opens rooms, and waits until they are live. */
  async open(...rooms: string[]): Promise<void> {
    for (const room of rooms) {
      if (!this.#releases.has(room)) this.#releases.set(room, this.client.room(room).open());
    }
    await this.live(...rooms);
  }

  /** Lets go of a room. */
  leave(room: string): void {
    this.#releases.get(room)?.();
    this.#releases.delete(room);
  }

  /** Waits until rooms are live. */
  async live(...rooms: string[]): Promise<void> {
    for (const room of rooms) {
      const { state } = this.client.room(room);
      await until(`${this.id} is live in ${room}, which is ${JSON.stringify(state.get())}`, () => {
        const { phase, error } = state.get();
        if (phase !== "live") throw new Error(`${phase} ${error?.code ?? ""} ${error?.message ?? ""}`);
      });
    }
  }

  /** Sends, and waits until the row says that it was taken. */
  async say(room: string, text: string): Promise<Message> {
    const { clientId } = this.client.room(room).send(text);
    return this.sent(room, clientId);
  }

  /** Waits until the message of this client id has its place. */
  async sent(room: string, clientId: string): Promise<Message> {
    const row = () => this.rows(room).find((message) => message.mine && message.clientId === clientId);
    await until(`the message ${clientId} is sent`, () => row()?.status === "sent");
    return row() as Message;
  }

  /** Waits until nothing is left to be brought to the server. */
  async emptied(patience?: number): Promise<void> {
    const { outbox } = this.client;
    await until(
      `the outbox of ${this.id} is empty`,
      () => {
        const left = outbox.get();
        if (left.length) throw new Error(JSON.stringify(left.slice(0, 5)));
      },
      patience,
    );
  }

  /** Waits for a state of the connection. */
  async becomes(state: ConnectionState, patience?: number): Promise<void> {
    await until(`${this.id} is ${state}`, () => this.state === state, patience);
  }

  /** The row at a position. */
  row(room: string, seq: number): Message | undefined {
    return this.rows(room).find((message) => message.seq === seq);
  }
}
