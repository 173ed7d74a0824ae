/** A user with a client, and a record of everything that the client emitted. */
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
import { pick, seededRandom } from "./seeded-random.js";
import { waitUntil } from "./until.js";

/** The options of a user. */
export interface PersonOptions extends Partial<ClientOptions> {
  /** The gateways that the client chooses from at random; the default is all. */
  readonly gateways?: readonly number[];
  readonly name?: string;
}

/** A user of the system. */
export class Person {
  readonly client: TidingsClient;
  /** The states of the connection in order. Consecutive equal states are recorded once. */
  readonly states: ConnectionState[] = [];
  readonly events: LogEvent[] = [];
  readonly frames: ServerFrame[] = [];
  readonly errors: TidingsError[] = [];
  /** How often the kit requested a token. */
  tokenRequests = 0;
  readonly #releases = new Map<string, () => void>();

  constructor(
    readonly stack: Stack,
    readonly id: string,
    options: PersonOptions = {},
  ) {
    const { gateways = stack.gateways.map((_, number) => number), name, ...clientOptions } = options;
    const random = seededRandom(id.length);
    this.client = new TidingsClient({
      url: () => stack.gateway(pick(random, gateways)),
      httpUrl: stack.http(),
      WebSocket: WebSocket as unknown as WebSocketConstructor,
      // Pauses have a tenth of their maximum length: they are short, and the same in every run.
      random: () => 0.1,
      ...clientOptions,
      token: async (request) => {
        this.tokenRequests++;
        return (await clientOptions.token?.(request)) ?? stack.token(id, name === undefined ? {} : { name });
      },
      onError: (error) => {
        this.errors.push(error);
        clientOptions.onError?.(error);
      },
    });
    const recordState = () => {
      const { state } = this.client.connection.get();
      if (state !== this.states.at(-1)) this.states.push(state);
    };
    this.client.connection.subscribe(recordState);
    this.client.on("event", (event) => void this.events.push(event));
    this.client.on("frame", (frame) => void this.frames.push(frame));
  }

  /** The state of the connection. */
  get state(): ConnectionState {
    return this.client.connection.get().state;
  }

  /** The rows of a room. */
  rows(room: string): readonly Message[] {
    return this.client.room(room).messages.get().items;
  }

  /** The contents of the rows of a room. */
  texts(room: string): string[] {
    return this.rows(room).map(({ content }) => content);
  }

  /** The list entry of a room. */
  listed(room: string) {
    return this.client.rooms.get().items.find(({ id }) => id === room);
  }

  /** Opens rooms and waits until they are live. */
  async open(...rooms: string[]): Promise<void> {
    for (const room of rooms) {
      if (!this.#releases.has(room)) this.#releases.set(room, this.client.room(room).open());
    }
    await this.waitUntilLive(...rooms);
  }

  /** Releases a room. */
  close(room: string): void {
    this.#releases.get(room)?.();
    this.#releases.delete(room);
  }

  /** Waits until rooms are live. */
  async waitUntilLive(...rooms: string[]): Promise<void> {
    for (const room of rooms) {
      const { state } = this.client.room(room);
      await waitUntil(`${this.id} is live in ${room}, which is ${JSON.stringify(state.get())}`, () => {
        const { phase, error } = state.get();
        if (phase !== "live") throw new Error(`${phase} ${error?.code ?? ""} ${error?.message ?? ""}`);
      });
    }
  }

  /** Sends a message and waits until it is accepted. */
  async send(room: string, text: string): Promise<Message> {
    const { clientId } = this.client.room(room).send(text);
    return this.waitUntilSent(room, clientId);
  }

  /** Waits until the message with this client id is accepted. */
  async waitUntilSent(room: string, clientId: string): Promise<Message> {
    const row = () => this.rows(room).find((message) => message.mine && message.clientId === clientId);
    await waitUntil(`the message ${clientId} is sent`, () => row()?.status === "sent");
    return row() as Message;
  }

  /** Waits until the outbox is empty. */
  async outboxEmpty(timeoutMs?: number): Promise<void> {
    const { outbox } = this.client;
    await waitUntil(
      `the outbox of ${this.id} is empty`,
      () => {
        const entries = outbox.get();
        if (entries.length) throw new Error(JSON.stringify(entries.slice(0, 5)));
      },
      timeoutMs,
    );
  }

  /** Waits for a state of the connection. */
  async waitForState(state: ConnectionState, timeoutMs?: number): Promise<void> {
    await waitUntil(`${this.id} is ${state}`, () => this.state === state, timeoutMs);
  }

  /** The row at a position. */
  row(room: string, seq: number): Message | undefined {
    return this.rows(room).find((message) => message.seq === seq);
  }
}
