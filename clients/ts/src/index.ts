export { TidingsClient } from "./client.js";
export { type ErrorCode, type ErrorDetails, TidingsError, UnauthorizedError } from "./errors.js";
export type * from "./files/types.js";
export { alwaysActive, browserLifecycle } from "./lifecycle.js";
export type { HttpOptions } from "./net/http.js";
export type * from "./protocol/frames.js";
export type * from "./protocol/objects.js";
export type * from "./push/types.js";
export type * from "./types.js";
