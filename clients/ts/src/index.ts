export { TidingsClient } from "./client.js";
export { type ErrorCode, type ErrorDetails, TidingsError } from "./errors.js";
export { alwaysActive, browserLifecycle } from "./lifecycle.js";
export type * from "./protocol/frames.js";
export type * from "./protocol/objects.js";
export type * from "./types.js";
