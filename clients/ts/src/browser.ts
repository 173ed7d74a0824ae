/**
 * The whole kit in one file, for pages without a bundler. An app with a bundler imports the other entry points and
 * must not import this file too, because each copy of the kit has its own clients and rooms.
 */
export * from "./changes.js";
export * from "./drafts.js";
export * from "./files.js";
export * from "./http.js";
export * from "./index.js";
export * from "./live.js";
export * from "./offline.js";
export * from "./push.js";
export * from "./storage.js";
