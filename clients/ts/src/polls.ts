/** Polls, for networks that let no WebSocket through. Loaded by itself when it is needed. */
export { PollLink } from "./net/poll.js";
export { Transport } from "./net/transport.js";
