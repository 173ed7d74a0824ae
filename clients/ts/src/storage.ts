/** Storages for the outbox and the drafts. Only `memoryStorage` always loses its data when the page is closed. */
export { type AsyncStorageLike, asyncStorage } from "./storage/async.js";
export { type AdapterStorage, customStorage } from "./storage/custom.js";
export { indexedDbStorage } from "./storage/indexed-db.js";
export { localStorageAdapter } from "./storage/local.js";
export { memoryStorage } from "./storage/memory.js";
export type { StorageAdapter } from "./types.js";
