/** For tests of apps: a scripted server in memory, a network that tests can cut, and a clock that tests move. */
export { settle, TestClock } from "./testing/clock.js";
export { type TestClientOptions, TestNetwork, type TestNetworkOptions } from "./testing/network.js";
export {
  type Answer,
  type Hook,
  type Json,
  type ScriptedRoom,
  ScriptedServer,
  type SendRule,
  type Session,
} from "./testing/server.js";
export { countSubscriptions } from "./testing/subscriptions.js";
