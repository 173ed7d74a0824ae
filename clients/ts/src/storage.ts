/** Storages that keep the outbox beyond the life of the page. */
export { type AsyncStorageLike, asyncStorage } from "./storage/async.js";
export { type AdapterStorage, customStorage } from "./storage/custom.js";
export { indexedDbStorage } from "./storage/indexed-db.js";
export { localStorageAdapter } from "./storage/local.js";
export { memoryStorage } from "./storage/memory.js";
export type { StorageAdapter } from "./types.js";
