/** Clients whose files go to a real HTTP server, and whose messages go to the scripted server. */
import "fake-indexeddb/auto";
import { afterEach } from "vitest";
import { files } from "../../src/files.js";
import type { OutboxStorage, Store, TidingsClient } from "../../src/index.js";
import { customStorage } from "../../src/storage.js";
import { TestNetwork } from "../../src/testing.js";
import { FileServer } from "./file-server.js";
import { lifecycle } from "./lifecycle.js";
import { sharedDisk } from "./world.js";

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of cleanups.splice(0).reverse()) await end();
  for (const { name } of await indexedDB.databases()) {
    if (name === undefined) continue;
    await new Promise((done) => {
      indexedDB.deleteDatabase(name).onsuccess = done;
    });
  }
});

/** A page of the user. */
export interface Page {
  readonly client: TidingsClient;
  readonly files: ReturnType<typeof files>;
  readonly room: ReturnType<TidingsClient["room"]>;
  /** Reloads or closes the page: after its last event it sends and stores nothing more. */
  end(): void;
}

/** A device with a disk that survives its pages, and the two servers. */
export class FilesWorld {
  readonly network = new TestNetwork({ rooms: ["r"], realTime: true });
  readonly disk = sharedDisk();
  server!: FileServer;
  /** While true, no request about files arrives. */
  offline = false;

  static async start(): Promise<FilesWorld> {
    const world = new FilesWorld();
    world.server = await new FileServer().start();
    cleanups.push(() => world.server.stop());
    return world;
  }

  /** Opens a page, which connects unless told otherwise. */
  page(settings: { keeps?: boolean; connect?: boolean; token?: () => string } = {}): Page {
    const { keeps = true, connect = true, token = () => "alice.1" } = settings;
    const tab = this.disk.tab();
    let dead = false;
    const life = lifecycle();
    const abort = new AbortController();
    const storage: OutboxStorage | undefined = keeps ? customStorage(tab) : undefined;
    const options = this.network.options();
    const client = this.network.client({
      storage,
      account: "alice",
      token,
      random: () => 0.01,
      lifecycle: life,
      httpUrl: () => this.server.origin,
      fetch: ((url: string, init: RequestInit) => {
        if (dead || (this.offline && FileServer.serves(url))) throw new TypeError("fetch failed");
        if (!FileServer.serves(url)) return options.fetch?.(url, init);
        return fetch(url, { ...init, signal: AbortSignal.any([abort.signal, init.signal as AbortSignal]) });
      }) as typeof fetch,
    });
    const page = {
      client,
      files: files(client),
      room: client.room("r"),
      end: () => {
        life.emit("hide");
        dead = true;
        tab.kill();
        abort.abort();
        client.disconnect();
      },
    };
    cleanups.push(() => client.close());
    if (connect) client.connect().catch(() => {});
    page.room.open();
    return page;
  }

  /** The attachments of the messages that the server has. */
  sent(): { content: unknown; attachments: { file: string; name: string }[] }[] {
    return this.network.server
      .room("r")
      .log.filter(({ type }) => type === "message:new")
      .map(({ content, attachments = [] }) => ({ content, attachments: attachments as [] }));
  }
}

/** A file with bytes that differ from place to place. */
export function makeFile(size: number, name = "photo.png", type = "image/png"): File {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at++) bytes[at] = (at * 31 + (at >> 8)) & 255;
  return new File([bytes], name, { type });
}

/** Resolves once the value of the store satisfies the condition. */
export function until<T>(store: Store<T>, wanted: (value: T) => boolean): Promise<T> {
  return new Promise((done) => {
    let stop = () => {};
    const look = () => {
      const value = store.get();
      if (!wanted(value)) return;
      stop();
      done(value);
    };
    stop = store.subscribe(look);
    look();
  });
}

/** Resolves once the condition holds. */
export async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5));
}
