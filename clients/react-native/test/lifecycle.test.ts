import type { LifecycleEvent } from "@tidings/client";
import { TestNetwork } from "@tidings/client/testing";
import { expect, test } from "vitest";
import { nativeLifecycle } from "../src/index.js";

/** An `AppState` and a NetInfo with the shapes of the real modules. */
function device() {
  const states = new Set<(state: string) => void>();
  const networks = new Set<(state: { isConnected: boolean | null }) => void>();
  let isConnected: boolean | null = null;
  return {
    listeners: () => states.size + networks.size,
    appState: {
      addEventListener(_type: "change", listener: (state: string) => void) {
        states.add(listener);
        return { remove: () => void states.delete(listener) };
      },
    },
    netInfo: {
      addEventListener(listener: (state: { isConnected: boolean | null }) => void) {
        networks.add(listener);
        // NetInfo tells a new listener the state that it knows.
        listener({ isConnected });
        return () => void networks.delete(listener);
      },
    },
    setApp(state: string) {
      for (const listener of [...states]) listener(state);
    },
    setNetwork(connected: boolean | null) {
      isConnected = connected;
      for (const listener of [...networks]) listener({ isConnected });
    },
  };
}

function start() {
  const phone = device();
  const lifecycle = nativeLifecycle(phone.appState, phone.netInfo);
  const events: LifecycleEvent[] = [];
  const stop = lifecycle.subscribe((event) => events.push(event));
  return { ...phone, lifecycle, events, stop };
}

test("an app in the background is hidden and may end, and an active app is visible", () => {
  const { setApp, events } = start();
  setApp("background");
  expect(events).toEqual(["hidden", "hide"]);
  setApp("active");
  expect(events).toEqual(["hidden", "hide", "visible"]);
});

test("an inactive app stays visible", () => {
  const { setApp, events } = start();
  setApp("inactive");
  expect(events).toEqual([]);
});

test("each change of the network is reported once, and an unknown network counts as online", () => {
  const { setNetwork, lifecycle, events } = start();
  expect(lifecycle.online()).toBe(true);
  for (const state of [true, null, false, false]) setNetwork(state);
  expect(lifecycle.online()).toBe(false);
  setNetwork(true);
  expect(lifecycle.online()).toBe(true);
  expect(events).toEqual(["offline", "online"]);
});

test("two subscribers share the native listeners, and the last one that leaves removes them", () => {
  const { setNetwork, listeners, lifecycle, events, stop } = start();
  const others: LifecycleEvent[] = [];
  const stopOther = lifecycle.subscribe((event) => others.push(event));
  expect(listeners()).toBe(2);
  setNetwork(false);
  expect([events, others]).toEqual([["offline"], ["offline"]]);
  stop();
  stop();
  expect(listeners()).toBe(2);
  setNetwork(true);
  expect([events, others]).toEqual([["offline"], ["offline", "online"]]);
  stopOther();
  expect(listeners()).toBe(0);
});

test("a subscriber learns of a network that came back while nobody was subscribed", () => {
  const { setNetwork, lifecycle, events, stop } = start();
  setNetwork(false);
  stop();
  setNetwork(true);
  lifecycle.subscribe((event) => events.push(event));
  expect(events).toEqual(["offline", "online"]);
  expect(lifecycle.online()).toBe(true);
});

test("without NetInfo the app is online", () => {
  const { appState, setApp } = device();
  const lifecycle = nativeLifecycle(appState);
  const events: LifecycleEvent[] = [];
  lifecycle.subscribe((event) => events.push(event));
  setApp("active");
  expect(lifecycle.online()).toBe(true);
  expect(events).toEqual(["visible"]);
});

test("a client that connects again learns at once that the network is back", async () => {
  const { appState, netInfo, setNetwork } = device();
  const network = new TestNetwork();
  const client = network.client({ lifecycle: nativeLifecycle(appState, netInfo) });
  client.connect().catch(() => {});
  setNetwork(false);
  expect(client.connection.get().offline).toBe(true);
  client.disconnect();
  setNetwork(true);
  client.connect().catch(() => {});
  expect(client.connection.get().offline).toBe(false);
  await network.clock.pass(100);
  expect(client.connection.get().state).toBe("connected");
  client.close();
});

test("a client reconnects at once when the app becomes active", async () => {
  const { appState, netInfo, setApp } = device();
  const network = new TestNetwork();
  const client = network.client({ lifecycle: nativeLifecycle(appState, netInfo) });
  client.connect().catch(() => {});
  await network.clock.pass(100);
  expect(client.connection.get().state).toBe("connected");
  network.down = true;
  network.cut();
  // The pauses grow to some seconds. Waits for the begin of one that is far longer than a handshake.
  const pause = () => (client.connection.get().retryAt ?? 0) - network.clock.now();
  for (let i = 0; i < 200 && pause() < 2_000; i++) await network.clock.pass(500);
  expect(pause()).toBeGreaterThanOrEqual(2_000);
  network.down = false;
  setApp("background");
  setApp("active");
  await network.clock.pass(100);
  expect(client.connection.get().state).toBe("connected");
  client.close();
});
