// @vitest-environment jsdom
import { fireEvent, screen, waitFor } from "@testing-library/react";
import type { RoomSummary } from "@tidings/client";
import { afterEach, expect, test, vi } from "vitest";
import { ChatUiProvider, Notifications } from "../src/index.js";
import { type NewMessage, notificationText, wantsNotification } from "../src/logic/notify.js";
import { show } from "./support.js";

const summary = { id: "r", kind: "private", name: "Kitchen", notify: "all", readSeq: 3 } as RoomSummary;
const sent = {
  type: "message:new",
  room: "r",
  seq: 4,
  sender: { id: "bo" },
  content: "**tea**?",
} as NewMessage;

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

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
  const requestPermission = vi.fn(async () => "granted");
  vi.stubGlobal("Notification", Object.assign(vi.fn(), { permission: "default", requestPermission }));
  const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(false);
  const { server, client } = show(
    <ChatUiProvider user="alice">
      <Notifications />
    </ChatUiProvider>,
  );
  await waitFor(() => expect(server.framesOf("room:join").length).toBeGreaterThan(0));
  await waitFor(() => expect(client.rooms.get().items.length).toBe(2));
  server.say("garden", "bob", "seen");
  await waitFor(() => expect(client.rooms.get().items[0]?.lastMessage?.content).toBe("seen"));
  expect(screen.queryByRole("region", { name: "Notifications" })).toBeNull();
  hidden.mockReturnValue(true);
  server.say("garden", "bob", "missed");
  await screen.findByRole("region", { name: "Notifications" });
  expect(requestPermission).not.toHaveBeenCalled();
  fireEvent.click(screen.getByRole("button", { name: "Turn on" }));
  expect(requestPermission).toHaveBeenCalledTimes(1);
});
