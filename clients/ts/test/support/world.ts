import type { OutboxStorage, Room, StorageAdapter, TidingsClient } from "../../src/index.js";
import { customStorage, memoryStorage } from "../../src/storage.js";
import { type Session, type TestClientOptions, TestNetwork } from "../../src/testing.js";
import { checkStep } from "./transitions.js";

/** The options of a client for a user; the storage may be any adapter. */
export type Options = Omit<TestClientOptions, "storage"> & {
  storage?: StorageAdapter | OutboxStorage | undefined;
};

/** A test network whose clients check each step of their connection. */
export class World extends TestNetwork {
  constructor(rooms: string[] = ["r"]) {
    super({ rooms });
  }

  override client({ storage, ...options }: Options = {}): TidingsClient {
    const custom = storage && "getItem" in storage ? customStorage(storage) : storage;
    return super.client({ debug: checkStep, storage: custom, ...options });
  }

  /** A client that began to connect `ms` milliseconds ago. */
  async connected(options?: Options, ms = 1_000): Promise<TidingsClient> {
    const client = this.client(options);
    client.connect().catch(() => {});
    await this.clock.pass(ms);
    return client;
  }

  /** A client that began to connect, and opened the room `r`, `ms` milliseconds ago. */
  async opened(options?: Options, ms = 1_000) {
    const client = this.client(options);
    client.connect().catch(() => {});
    const room = client.room("r");
    const close = room.open();
    await this.clock.pass(ms);
    return { world: this as World, client, room, close };
  }
}

/** Opens the room `r` with a new client. */
export const openRoom = (options?: Options, world = new World()) => world.opened(options);
/** The newest connection. */
export const newestSession = (world: World) => [...world.server.sessions].at(-1) as Session;
export const contents = (room: Room) => room.messages.get().items.map(({ content }) => content);
export const phase = (room: Room) => room.state.get().phase;
/** All frames that sent a message. */
export const sentMessages = (world: World) =>
  world.server.seen.filter((frame) => frame.type === "message:send");
/** The answer of a service that is unavailable. */
export const UNAVAILABLE = { status: 503, body: { code: "unavailable" } };

/** A storage that survives its clients. A killed tab cannot write to it any more. */
export function sharedDisk(): StorageAdapter & { tab(): StorageAdapter & { kill(): void } } {
  const inner = memoryStorage();
  return {
    ...inner,
    tab() {
      let dead = false;
      return {
        getItem: (key) => inner.getItem(key),
        setItem: (key, value) => (dead ? undefined : inner.setItem(key, value)),
        removeItem: (key) => (dead ? undefined : inner.removeItem(key)),
        keys: () => inner.keys?.() ?? [],
        kill: () => {
          dead = true;
        },
      };
    },
  };
}
