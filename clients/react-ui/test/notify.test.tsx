// @vitest-environment jsdom
// Which messages get a notification, how the page asks for the permission, and the sound.
import { act, fireEvent, screen, waitFor } from "@testing-library/react";
import type { RoomSummary } from "@tidings/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ChatUiProvider, Notifications, NotificationsDialog, type NotificationsProps } from "../src/index.js";
import { type NewMessage, notificationText, wantsNotification } from "../src/logic/notify.js";
import { BrowserLocks } from "./browserLocks.js";
import { show } from "./support.js";

const summary = { id: "r", kind: "private", name: "Kitchen", notify: "all", readSeq: 3 } as RoomSummary;
const sent = {
  type: "message:new",
  room: "r",
  seq: 4,
  sender: { id: "bo" },
  content: "**tea**?",
} as NewMessage;

/** How many tones the page has played. */
let tones = 0;

/** An audio output that counts the tones. */
class CountingAudio {
  readonly currentTime = 0;
  readonly destination = {};
  resume = async () => {};
  createGain = () => ({
    gain: { setValueAtTime() {}, exponentialRampToValueAtTime() {} },
    connect: (next: unknown) => next,
  });
  createOscillator = () => ({
    frequency: { value: 0 },
    connect: (next: unknown) => next,
    start: () => void tones++,
    stop() {},
  });
}

beforeEach(() => {
  tones = 0;
  vi.stubGlobal("AudioContext", CountingAudio);
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/**
 * Gives the page a browser with this permission. Returns the titles of the shown notifications, and the function that
 * asks for the permission.
 */
function stubNotifications(permission: NotificationPermission, answer = permission) {
  const titles: string[] = [];
  const requestPermission = vi.fn(async () => {
    Shown.permission = answer;
    return answer;
  });
  class Shown {
    static permission = permission;
    static readonly requestPermission = requestPermission;
    constructor(title: string) {
      titles.push(title);
    }
  }
  vi.stubGlobal("Notification", Shown);
  return { titles, requestPermission };
}

/** Shows a page with notifications, and waits until the page has joined its rooms. */
async function showPage(props: NotificationsProps = {}, isHidden = true) {
  const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(isHidden);
  const page = show(
    <ChatUiProvider user="alice">
      <Notifications {...props} />
    </ChatUiProvider>,
  );
  await waitFor(() => expect(page.server.framesOf("room:join").length).toBeGreaterThan(0));
  await waitFor(() => expect(page.client.rooms.get().items.length).toBe(2));
  /** Sends a message, and waits until the page has it. */
  const say = async (user: string, content: string) => {
    page.server.say("garden", user, content);
    await waitFor(() => expect(page.client.rooms.get().items[0]?.lastMessage?.content).toBe(content));
    await act(async () => {});
  };
  return { ...page, hidden, say };
}

const notice = () => screen.queryByRole("region", { name: "Notifications" });

test("a notification follows the level of the room, and is never for own or read messages", () => {
  const wants = (notify: RoomSummary["notify"], more: Partial<NewMessage> = {}) =>
    wantsNotification({ ...sent, ...more }, { ...summary, notify }, "me");
  expect(wants("all")).toBe(true);
  expect(wants("mentions")).toBe(false);
  expect(wants("mentions", { mentions: ["me"] })).toBe(true);
  expect(wants("none", { mentions: ["me"] })).toBe(false);
  expect(wants("all", { sender: { id: "me" } })).toBe(false);
  expect(wants("all", { seq: 3 })).toBe(false);
});

test("the text of a private message is not in a notification by default", () => {
  const secret = { ...sent, visible_to: { users: ["me"], roles: [] } };
  expect(notificationText(sent, summary, "me", "public")).toEqual({ title: "Bo in Kitchen", body: "tea?" });
  expect(notificationText(secret, summary, "me", "public").body).toBe("Private message");
  expect(notificationText(secret, summary, "me", "all").body).toBe("tea?");
  expect(notificationText(sent, summary, "me", "none").body).toBe("New message");
});

test("the page asks only after a message has arrived while it was hidden, and asks the browser on a click", async () => {
  const { requestPermission } = stubNotifications("default");
  const { hidden, say } = await showPage({}, false);
  await say("bob", "seen");
  expect(notice()).toBeNull();
  hidden.mockReturnValue(true);
  await say("bob", "missed");
  expect(notice()).not.toBeNull();
  expect(requestPermission).not.toHaveBeenCalled();
  fireEvent.click(screen.getByRole("button", { name: "Turn on" }));
  expect(requestPermission).toHaveBeenCalledTimes(1);
});

test('after "Not now" the page does not ask for 14 days, also after a reload', async () => {
  const { requestPermission } = stubNotifications("default");
  const first = await showPage();
  await first.say("bob", "missed");
  fireEvent.click(screen.getByRole("button", { name: "Not now" }));
  expect(notice()).toBeNull();
  await first.say("bob", "missed again");
  expect(notice()).toBeNull();
  first.unmount();
  const second = await showPage();
  await second.say("bob", "missed after a reload");
  expect(notice()).toBeNull();
  expect(requestPermission).not.toHaveBeenCalled();
  const days14 = 14 * 24 * 3_600_000;
  const key = "tidings.notifications.declined";
  const declinedAt = Number(window.localStorage.getItem(key));
  expect(Math.abs(Date.now() - declinedAt)).toBeLessThan(60_000);
  window.localStorage.setItem(key, String(declinedAt - days14 + 60_000));
  await second.say("bob", "almost 14 days later");
  expect(notice()).toBeNull();
  window.localStorage.setItem(key, String(declinedAt - days14));
  await second.say("bob", "14 days later");
  expect(notice()).not.toBeNull();
});

test("notifications have no sound by default", async () => {
  const { titles } = stubNotifications("granted");
  const { say } = await showPage();
  await say("bob", "tea?");
  await waitFor(() => expect(titles).toEqual(["Bob in garden"]));
  await act(async () => {});
  expect(tones).toBe(0);
});

test("with sound each notification plays one tone, and a message without a notification none", async () => {
  const { titles } = stubNotifications("granted");
  const { say, hidden } = await showPage({ sound: true });
  await say("bob", "one");
  await say("alice", "an own message");
  await say("bob", "two");
  hidden.mockReturnValue(false);
  await say("bob", "seen");
  await waitFor(() => expect(tones).toBe(2));
  expect(titles).toEqual(["Bob in garden", "Bob in garden"]);
});

test("of two hidden tabs one shows the notification of a message and plays its sound", async () => {
  const { titles } = stubNotifications("granted");
  vi.stubGlobal("navigator", Object.create(navigator, { locks: { value: new BrowserLocks() } }));
  const tabs = [await showPage({ sound: true }), await showPage({ sound: true })];
  for (const { say } of tabs) await say("bob", "one");
  for (const { say } of tabs) await say("bob", "two");
  await waitFor(() => expect(tones).toBe(2));
  expect(titles).toHaveLength(2);
});

test.each([
  ["default", /^Notifications are off/],
  ["denied", /blocks notifications/],
  ["granted", /^Notifications are on/],
] as const)("the dialog explains the permission %s, and offers to ask if it is open", (permission, text) => {
  stubNotifications(permission);
  show(
    <ChatUiProvider>
      <NotificationsDialog onClose={() => {}} />
    </ChatUiProvider>,
  );
  screen.getByRole("dialog", { name: "Notifications" });
  screen.getByText(text);
  expect(screen.queryByRole("button", { name: "Turn on" }) !== null).toBe(permission === "default");
});

test("the dialog says when the browser has no notifications", () => {
  vi.stubGlobal("Notification", undefined);
  show(
    <ChatUiProvider>
      <NotificationsDialog onClose={() => {}} />
    </ChatUiProvider>,
  );
  screen.getByText("This browser has no notifications.");
  expect(screen.queryByRole("button", { name: "Turn on" })).toBeNull();
});

test.each([
  ["granted", /^Notifications are on/],
  ["denied", /blocks notifications/],
] as const)("the dialog asks the browser, closes and shows the answer %s", async (answer, text) => {
  const { requestPermission } = stubNotifications("default", answer);
  const onClose = vi.fn();
  show(
    <ChatUiProvider>
      <NotificationsDialog onClose={onClose} />
    </ChatUiProvider>,
  );
  const button = screen.getByRole("button", { name: "Turn on" });
  expect(document.activeElement).toBe(button);
  fireEvent.click(button);
  await screen.findByText(text);
  expect(onClose).toHaveBeenCalledTimes(1);
  expect(requestPermission).toHaveBeenCalledTimes(1);
});

test("the dialog stays when the user closes the question of the browser", async () => {
  const { requestPermission } = stubNotifications("default");
  const onClose = vi.fn();
  show(
    <ChatUiProvider>
      <NotificationsDialog onClose={onClose} />
    </ChatUiProvider>,
  );
  fireEvent.click(screen.getByRole("button", { name: "Turn on" }));
  await act(async () => {});
  expect(requestPermission).toHaveBeenCalledTimes(1);
  expect(onClose).not.toHaveBeenCalled();
});
