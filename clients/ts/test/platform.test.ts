import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import { expect, test, vi } from "vitest";
import { memoryStorage } from "../src/storage.js";
import { cell, derived } from "../src/store.js";
import { World } from "./support/world.js";

const SOURCES = new URL("../src/", import.meta.url).pathname;
/** The size of the whole main entry, minified and gzipped, in bytes. */
const MAX_MAIN_BYTES = 20 * 1_024;
/** The size in bytes that each further entry point adds; `polls` is loaded separately when WebSockets are blocked. */
const MAX_ADDED_BYTES = {
  storage: 2_000,
  live: 1_900,
  changes: 800,
  drafts: 900,
  http: 900,
  offline: 4_110,
  polls: 2_000,
  testing: 8_000,
};

/** Bundles a page with this source. Returns its code, and the code of each chunk that it loads later. */
async function bundle(text: string): Promise<{ page: string; later: string[] }> {
  const build = await rolldown({
    input: "entry",
    // As in an app, later chunks share the code of the page.
    preserveEntrySignatures: "allow-extension",
    plugins: [
      {
        name: "entry",
        resolveId: (id) => (id === "entry" ? id : undefined),
        load: (id) =>
          id === "entry"
            ? text.replace(/KIT(\/\w+)?/g, (_, of = "/index") => `${SOURCES}${of.slice(1)}.ts`)
            : undefined,
      },
    ],
    resolve: { extensionAlias: { ".js": [".ts", ".js"] } },
  });
  const { output } = await build.generate({ format: "esm", minify: true });
  const [page, ...later] = output;
  expect(page.isEntry && page.imports.length === 0).toBe(true);
  return { page: page.code, later: later.flatMap((chunk) => ("code" in chunk ? chunk.code : [])) };
}

const gzipSize = (text: string) => gzipSync(text, { level: 9 }).length;

test("the kit takes less than 20 KB, minified and compressed", async () => {
  const { page, later } = await bundle(`export * from "KIT";`);
  expect(gzipSize(page)).toBeLessThan(MAX_MAIN_BYTES);
  expect(later.map(gzipSize).filter((size) => size >= MAX_ADDED_BYTES.polls)).toEqual([]);
  expect(later.length).toBe(1);
});

test("the size of each further entry is bounded", async () => {
  const main = gzipSize((await bundle(`export * from "KIT";`)).page);
  for (const [name, maxBytes] of Object.entries(MAX_ADDED_BYTES)) {
    const { page } = await bundle(`export * from "KIT"; export * from "KIT/${name}";`);
    expect(gzipSize(page) - main, name).toBeLessThan(maxBytes);
  }
});

test("bundlers leave out unused code", async () => {
  const used = (
    await bundle(`export { TidingsClient } from "KIT"; export { memoryStorage } from "KIT/storage";`)
  ).page;
  const all = (await bundle(`export * from "KIT"; export * from "KIT/storage";`)).page;
  expect(all).toContain("indexedDB");
  expect(all).toContain("localStorage");
  expect(used).not.toContain("indexedDB");
  expect(used).not.toContain("localStorage");
  for (const name of ["", ...Object.keys(MAX_ADDED_BYTES).map((name) => `/${name}`)]) {
    expect((await bundle(`import "KIT${name}";`)).page.trim()).toBe("");
  }
});

test("the package needs nothing at run time", () => {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  expect(manifest.dependencies).toBeUndefined();
  expect(manifest.sideEffects).toBe(false);
});

test("the kit is imported and works without a page", async () => {
  const names = [
    "window",
    "document",
    "localStorage",
    "navigator",
    "indexedDB",
    "crypto",
    "WebSocket",
    "fetch",
  ] as const;
  const descriptors = names.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const);
  for (const name of names) Reflect.deleteProperty(globalThis, name);
  vi.resetModules();
  try {
    const kit = await import("../src/index.js");
    const storage = await import("../src/storage.js");
    expect(kit.browserLifecycle()).toBe(kit.alwaysActive);
    const world = new World();
    const client = world.client({ lifecycle: undefined, storage: undefined, polls: undefined });
    client.connect().catch(() => {});
    client.room("r").open();
    client.room("r").send("from nowhere");
    await world.clock.pass(2_000);
    expect(world.server.contents()).toEqual(["from nowhere"]);
    expect(() => storage.localStorageAdapter()).not.toThrow();
    expect(() => storage.indexedDbStorage()).not.toThrow();
  } finally {
    for (const [name, descriptor] of descriptors)
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
  }
});

test("the constructor of a client has no side effects", () => {
  const world = new World();
  const storage = memoryStorage();
  const calls: string[] = [];
  const spied = new Proxy(storage, {
    get: (target, name) => {
      calls.push(String(name));
      return Reflect.get(target, name);
    },
  });
  const client = world.client({ storage: spied, token: () => `${calls.push("token")}` });
  client.room("r").messages.get();
  client.rooms.get();
  expect(calls).toEqual([]);
  expect(world.clock.pending).toBe(0);
});

test("a throwing listener does not stop the others, and a listener may be removed during a call", async () => {
  const thrown: unknown[] = [];
  const calledListeners: string[] = [];
  const caught = (error: unknown) => void thrown.push(error);
  const before = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", caught);
  try {
    const store = cell(0);
    store.subscribe(() => {
      throw new Error("of the app");
    });
    const stop = store.subscribe(() => {
      calledListeners.push("once");
      stop();
      never();
    });
    const never = store.subscribe(() => calledListeners.push("never"));
    store.subscribe(() => calledListeners.push("each"));
    store.set(1);
    store.set(2);
    await new Promise((resolve) => setTimeout(resolve, 10));
  } finally {
    process.off("uncaughtException", caught);
    for (const listener of before) process.on("uncaughtException", listener);
  }
  expect(calledListeners).toEqual(["once", "each", "each"]);
  expect(thrown.map(String)).toEqual(["Error: of the app", "Error: of the app"]);
});

test("a store returns the same object until a change, and reports only changes", () => {
  const store = cell({ a: 1 });
  let notifications = 0;
  store.subscribe(() => notifications++);
  store.set(store.get());
  expect(notifications).toBe(0);
  let computations = 0;
  const list = derived(() => [++computations]);
  expect(list.get()).toBe(list.get());
  list.refresh();
  expect(list.get()).toEqual([2]);
});
