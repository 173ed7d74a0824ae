// @vitest-environment jsdom
// Muted rooms: their menu, their look in the list, and the notifications of an open page.
import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { mutes } from "@tidings/client/push";
import { afterEach, expect, test, vi } from "vitest";
import { serveMutes } from "../../ts/test/support/mutes.js";
import {
  ChatUiProvider,
  type ChatUiProviderProps,
  Notifications,
  PageTitle,
  RoomList,
} from "../src/index.js";
import { unmuteLabel } from "../src/logic/muted.js";
import { show } from "./support.js";

const HOUR_MS = 3_600_000;

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** Shows the list of rooms, after `prepare` has set the muted rooms of the server. A `refusal` is its status for them. */
async function showList({
  prepare = (_: Map<string, string | null>) => {},
  refusal = undefined as number | undefined,
  props = { mutes } as Pick<ChatUiProviderProps, "mutes">,
} = {}) {
  const page = show(
    <ChatUiProvider user="alice" {...props}>
      <PageTitle app="Chat" />
      <Notifications />
      <RoomList />
    </ChatUiProvider>,
  );
  const serverMutes = serveMutes(page.server);
  prepare(serverMutes);
  if (refusal) page.server.http = (_, path) => (path.includes("mutes") ? { status: refusal } : undefined);
  await screen.findByRole("link", { name: /kitchen/ });
  const requests = () => page.server.requests.filter((request) => request.includes("mutes"));
  if (props.mutes) await waitFor(() => expect(requests()).toContain("GET /me/mutes"));
  return { ...page, serverMutes, requests };
}

const item = (name: string) => screen.getByRole("link", { name: new RegExp(name) });
/** Opens the menu of a room, and returns the labels of its items about muting. */
function openMenu(room = "kitchen"): string[] {
  fireEvent.contextMenu(item(room));
  const menu = screen.getByRole("menu", { name: `Room ${room}` });
  const labels = within(menu)
    .getAllByRole("menuitem")
    .map(({ textContent }) => textContent ?? "");
  return labels.filter((label) => /mute/i.test(label));
}
const choose = (name: RegExp) => fireEvent.click(screen.getByRole("menuitem", { name }));
const MUTE_LABELS = [
  "Mute notifications for 1 hour",
  "Mute notifications for 8 hours",
  "Mute notifications until I unmute",
];

test("the menu of a room mutes it for some hours or until the user unmutes it", async () => {
  const { serverMutes } = await showList();
  await waitFor(() => {
    expect(openMenu()).toEqual(MUTE_LABELS);
  });
  for (const [label, hours] of [
    [/for 1 hour/, 1],
    [/for 8 hours/, 8],
  ] as const) {
    const before = Date.now();
    choose(label);
    await waitFor(() => expect(item("kitchen").dataset.muted).toBe("true"));
    const ms = Date.parse(serverMutes.get("kitchen") ?? "") - before;
    expect(Math.abs(ms - hours * HOUR_MS)).toBeLessThan(60_000);
    expect(openMenu()).toEqual([expect.stringMatching(/^Unmute \(muted until .+\)$/)]);
    choose(/^Unmute/);
    await waitFor(() => expect(item("kitchen").dataset.muted).toBeUndefined());
    expect(serverMutes.size).toBe(0);
    openMenu();
  }
  choose(/until I unmute/);
  await waitFor(() => expect(serverMutes.get("kitchen")).toBeNull());
  await screen.findByRole("link", { name: /kitchen.*no notifications/ });
  expect(openMenu()).toEqual(["Unmute notifications"]);
  expect(item("garden").dataset.muted).toBeUndefined();
});

test("a muted room is quiet in the list and does not count in the title", async () => {
  const { server } = await showList({ prepare: (rooms) => rooms.set("kitchen", null) });
  await screen.findByRole("link", { name: /kitchen.*no notifications/ });
  expect(document.title).toBe("Chat");
  server.say("garden", "bob", "rain");
  await waitFor(() => expect(document.title).toBe("(1) Chat"));
});

test("the keyboard reaches the items, and the focus returns to the room", async () => {
  const { serverMutes } = await showList();
  const link = item("kitchen");
  link.focus();
  await waitFor(() => {
    expect(openMenu()).toEqual(MUTE_LABELS);
  });
  const menu = screen.getByRole("menu");
  fireEvent.keyDown(menu, { key: "End" });
  expect(document.activeElement?.textContent).toBe("Mute notifications until I unmute");
  fireEvent.click(document.activeElement as HTMLElement);
  expect(document.activeElement).toBe(link);
  await waitFor(() => expect(serverMutes.has("kitchen")).toBe(true));
});

test("without push or without the property there is nothing about mutes, and the server is asked once", async () => {
  const withoutPush = await showList({ refusal: 404 });
  await act(async () => {});
  expect(openMenu()).toEqual([]);
  withoutPush.client.disconnect();
  await withoutPush.client.connect();
  document.dispatchEvent(new Event("visibilitychange"));
  // A second request would come before the answers to these.
  for (let count = 0; count < 2; count++) await withoutPush.client.http("GET", "/me/rooms");
  expect(withoutPush.requests()).toEqual(["GET /me/mutes"]);
  withoutPush.unmount();

  const without = await showList({ props: {} });
  for (let count = 0; count < 2; count++) await without.client.http("GET", "/me/rooms");
  expect(openMenu()).toEqual([]);
  expect(without.requests()).toEqual([]);
});

test("a first read that failed is repeated", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  const { server, requests } = await showList({ refusal: 503 });
  await waitFor(() => expect(requests().length).toBeGreaterThan(3), { timeout: 20_000 });
  serveMutes(server).set("kitchen", null);
  await act(() => vi.advanceTimersByTimeAsync(60_000));
  await waitFor(() => expect(item("kitchen").dataset.muted).toBe("true"));
});

test("changes of other devices appear with the menu, and when the page becomes visible", async () => {
  const { client, serverMutes } = await showList();
  await waitFor(() => {
    expect(openMenu()).toEqual(MUTE_LABELS);
  });
  fireEvent.keyDown(screen.getByRole("menu"), { key: "Escape" });
  serverMutes.set("kitchen", null);
  openMenu();
  await screen.findByRole("menuitem", { name: "Unmute notifications" });
  fireEvent.keyDown(screen.getByRole("menu"), { key: "Escape" });
  // The menu has read twice, because React runs effects twice in its strict mode.
  for (let count = 0; count < 3; count++) await client.http("GET", "/me/rooms");
  serverMutes.clear();
  document.dispatchEvent(new Event("visibilitychange"));
  await waitFor(() => expect(item("kitchen").dataset.muted).toBeUndefined());
});

test("a room without notifications offers no mute, but an unmute", async () => {
  const { server, serverMutes } = await showList();
  await waitFor(() => {
    expect(openMenu()).toEqual(MUTE_LABELS);
  });
  fireEvent.click(screen.getByRole("menuitemradio", { name: "No notifications" }));
  await waitFor(() => expect(item("kitchen").dataset.muted).toBe("true"));
  expect(server.room("kitchen").notify.get("alice")).toBe("none");
  expect(openMenu()).toEqual([]);
  serverMutes.set("kitchen", null);
  fireEvent.keyDown(screen.getByRole("menu"), { key: "Escape" });
  openMenu();
  await screen.findByRole("menuitem", { name: "Unmute notifications" });
});

test("a refusal is shown, and the room stays as it is", async () => {
  const { server } = await showList();
  await waitFor(() => {
    expect(openMenu()).toEqual(MUTE_LABELS);
  });
  server.http = (method) => (method === "PUT" ? { status: 429, body: { code: "rate_limited" } } : undefined);
  choose(/for 1 hour/);
  await screen.findByText(/You are doing this too often/);
  expect(item("kitchen").dataset.muted).toBeUndefined();
});

test("an open page shows no notification of a muted room, also if another device has muted it", async () => {
  const titles: string[] = [];
  class PageNotification {
    static permission = "granted";
    constructor(title: string) {
      titles.push(title);
    }
  }
  vi.stubGlobal("Notification", PageNotification);
  const { server, client, serverMutes } = await showList({ prepare: (rooms) => rooms.set("kitchen", null) });
  await waitFor(() => expect(item("kitchen").dataset.muted).toBe("true"));
  vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  const say = (room: string, content: string) => server.say(room, "bob", content, ["alice"]);
  say("kitchen", "muted @alice");
  say("garden", "one");
  await waitFor(() => expect(titles).toEqual([expect.stringContaining("garden")]));
  serverMutes.set("garden", null);
  serverMutes.delete("kitchen");
  // The page has asked less than a minute ago.
  vi.useFakeTimers({ now: Date.now() + 120_000, toFake: ["Date"] });
  say("garden", "muted now");
  say("kitchen", "two");
  await waitFor(() => expect(titles).toHaveLength(2));
  expect(titles[1]).toContain("kitchen");
  expect(client.rooms.get().items.every(({ unread }) => unread > 0)).toBe(true);
});

test("the label of a mute that ends on another day names the day", () => {
  const now = new Date(2026, 4, 4, 23, 0).getTime();
  expect(unmuteLabel(null, now)).toBe("Unmute notifications");
  expect(unmuteLabel(now + HOUR_MS / 2, now)).toMatch(/^Unmute \(muted until [^,]*\)$/);
  expect(unmuteLabel(now + 30 * 24 * HOUR_MS, now)).toMatch(/^Unmute \(muted until .*June.*, .*11.*00.*\)$/);
  expect(unmuteLabel(now + 8 * HOUR_MS, now)).toMatch(/^Unmute \(muted until Tue, .*7.*00.*\)$/);
});
