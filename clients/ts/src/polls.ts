/** HTTP long polls, for networks that block WebSockets. The kit loads this module only when it is needed. */
export { PollLink } from "./net/poll.js";
export { Transport } from "./net/transport.js";
