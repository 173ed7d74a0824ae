// A program for Hermes without a phone: an app of React with the kit, and a server in memory. It prints each state of the
// room that the app shows. Hermes alone runs timers at once, so the clock of the test network gives the time.
import "./globals";
import { asyncStorage } from "@tidings/client/storage";
import { TestNetwork } from "@tidings/client/testing";
import { TidingsProvider, useConnection, useMessages } from "@tidings/react";
import { nativeLifecycle, secureToken } from "@tidings/react-native";
import { createElement } from "react";
import { create } from "react-test-renderer";

const values = new Map();
const memory = {
  getItem: async (key) => values.get(key) ?? null,
  setItem: async (key, value) => void values.set(key, value),
  removeItem: async (key) => void values.delete(key),
  getAllKeys: async () => [...values.keys()],
};
const store = {
  getItemAsync: memory.getItem,
  setItemAsync: memory.setItem,
  deleteItemAsync: memory.removeItem,
};
let setAppState = () => {};
const appState = {
  addEventListener(_type, listener) {
    setAppState = listener;
    return { remove() {} };
  },
};

function Room() {
  const { state } = useConnection();
  const { items, phase } = useMessages("kitchen");
  const texts = items.map(({ content, status }) => `${content} ${status}`);
  globalThis.print([state, phase, ...texts].join(", "));
  return null;
}

async function main() {
  const network = new TestNetwork({ rooms: ["kitchen"] });
  network.server.say("kitchen", "bob", "tea?");
  const client = network.client({
    token: secureToken(store, () => "alice.1").token,
    storage: asyncStorage(memory),
    lifecycle: nativeLifecycle(appState),
  });
  client.connect().catch(() => {});
  create(createElement(TidingsProvider, { client }, createElement(Room)));
  await network.clock.pass(1_000);
  client.room("kitchen").send("Hello");
  await network.clock.pass(1_000);
  setAppState("background");
  network.cut();
  network.server.say("kitchen", "bob", "now?");
  // The pause before the next attempt has begun, and only the lifecycle can end it now.
  await network.clock.pass(1);
  setAppState("active");
  await network.clock.pass(50);
  globalThis.print(`server: ${network.server.contents("kitchen").join(", ")}`);
  globalThis.print(`token: ${values.get("tidings.token")}`);
  for (const error of network.errors) globalThis.print(`error: ${error} ${error.cause?.stack}`);
  client.close();
}

main().then(
  () => globalThis.print("end"),
  (error) => globalThis.print(`failed: ${error?.stack ?? error}`),
);
