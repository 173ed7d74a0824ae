/** The entries of the outbox in a storage. */
import { expect } from "vitest";
import type { AdapterStorage } from "../../src/storage.js";
import { waitUntil } from "./until.js";

/** Waits until the storage contains this number of entries. */
export async function waitUntilPersisted(storage: AdapterStorage, count: number): Promise<void> {
  await waitUntil(`the storage contains ${count} entries`, async () => {
    const keys = (await storage.keys?.()) ?? [];
    expect(keys.filter((key) => key.includes("/out/"))).toHaveLength(count);
  });
}
