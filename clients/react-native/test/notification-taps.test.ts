import { expect, test } from "vitest";
import { type NotificationResponseLike, notificationTaps } from "../src/index.js";

const DEFAULT_ACTION_IDENTIFIER = "expo.modules.notifications.actions.DEFAULT";

/** A response as `expo-notifications` reports it. */
const response = (
  data: unknown,
  { identifier = "1", action = DEFAULT_ACTION_IDENTIFIER } = {},
): NotificationResponseLike => ({
  actionIdentifier: action,
  notification: { request: { identifier, content: { data } } },
});

/** A module with the functions of `expo-notifications`. */
function module(last: NotificationResponseLike | null = null) {
  const listeners = new Set<(response: NotificationResponseLike) => void>();
  return {
    DEFAULT_ACTION_IDENTIFIER,
    listeners,
    addNotificationResponseReceivedListener(listener: (response: NotificationResponseLike) => void) {
      listeners.add(listener);
      return { remove: () => void listeners.delete(listener) };
    },
    getLastNotificationResponse: () => last,
    clearLastNotificationResponse() {
      last = null;
    },
    tap(tapped: NotificationResponseLike) {
      last = tapped;
      for (const listener of [...listeners]) listener(tapped);
    },
  };
}

function start(notifications = module()) {
  const opened: [string, unknown][] = [];
  const stop = notificationTaps(notifications, (room, at) => opened.push([room, at]));
  return { ...notifications, opened, stop };
}

test("a tap opens the room around the message", () => {
  const { tap, opened } = start();
  tap(response({ room: "kitchen", seq: 7 }));
  expect(opened).toEqual([["kitchen", 7]]);
});

test("the tap that started the app is opened once, even when the listener receives it too", () => {
  const notifications = module(response({ room: "kitchen", seq: 7 }));
  const { tap, opened, stop } = start(notifications);
  tap(response({ room: "kitchen", seq: 7 }));
  expect(opened).toEqual([["kitchen", 7]]);
  tap(response({ room: "garden", seq: 8 }, { identifier: "2" }));
  expect(opened).toEqual([
    ["kitchen", 7],
    ["garden", 8],
  ]);
  stop();
});

test("a tap is not opened again when the app loads its code anew", () => {
  const notifications = module(response({ room: "kitchen", seq: 7 }));
  const first = start(notifications);
  expect(first.opened).toEqual([["kitchen", 7]]);
  first.tap(response({ room: "garden", seq: 8 }, { identifier: "2" }));
  first.stop();
  expect(start(notifications).opened).toEqual([]);
});

test("a notification that stays on the screen can be tapped again", () => {
  const { tap, opened } = start();
  tap(response({ room: "kitchen", seq: 7 }));
  tap(response({ room: "kitchen", seq: 7 }));
  expect(opened.length).toBe(2);
});

test("a seq may be a string, and without a valid seq the room opens at the unread messages", () => {
  const { tap, opened } = start();
  for (const seq of ["7", undefined, 0, -1, 1.5, "x", "1e3", "9".repeat(20), null]) {
    tap(response({ room: "kitchen", seq }));
  }
  expect(opened.map(([, at]) => at)).toEqual([7, ...Array(8).fill("unread")]);
});

test("buttons and notifications without a room open nothing and stay with the app", () => {
  const { tap, opened, getLastNotificationResponse } = start();
  const others = [
    response({ room: "kitchen", seq: 7 }, { action: "mute" }),
    ...[null, undefined, "kitchen", {}, { room: "" }, { room: 7, seq: 7 }].map((data) => response(data)),
  ];
  for (const other of others) {
    tap(other);
    expect(getLastNotificationResponse()).toBe(other);
  }
  expect(opened).toEqual([]);
});

test("on a platform that keeps no last tap, later taps are opened", () => {
  const notifications = module();
  notifications.getLastNotificationResponse = () => {
    throw new Error("The method ExpoNotifications.getLastNotificationResponse is not available on web");
  };
  const { tap, opened } = start(notifications);
  tap(response({ room: "kitchen", seq: 7 }));
  expect(opened).toEqual([["kitchen", 7]]);
});

test("after the end no tap is opened", () => {
  const { listeners, stop } = start();
  stop();
  expect(listeners.size).toBe(0);
});
