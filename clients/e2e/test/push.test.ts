// Push messages, from the real service to the real service worker.
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { sign } from "../../ts/test-system/token.js";
import { usesFirefox } from "../setup/browser.js";
import { Chat } from "../support/chat.js";
import {
  clickNotification,
  notificationsOf,
  permitNotifications,
  prepareNotifications,
} from "../support/notifications.js";
import type { Person } from "../support/person.js";
import { PushService } from "../support/push.js";

const chat = new Chat();
const service = new PushService();
/** How long a notification may take. Under load the server asks for a user's presence again after 30 s. */
const NOTIFICATION_TIMEOUT = { timeout: 45_000 };
/** Longer than all such waits of one test together. */
const TEST_TIMEOUT_MS = 240_000;

beforeAll(() => service.start());
afterAll(() => service.stop());
afterEach(() => expect(service.failures.splice(0)).toEqual([]));

/** Sends a request to `tidings-push` as this user. */
async function request<T>(user: string, method: string, path: string, body?: object): Promise<T> {
  const { push, jwt_secret } = chat.environment.addresses;
  const headers = { authorization: `Bearer ${sign(user, jwt_secret)}`, "content-type": "application/json" };
  const answer = await fetch(`${push}/v1${path}`, {
    method,
    headers,
    ...(body && { body: JSON.stringify(body) }),
  });
  expect(answer.ok, `${method} ${path}: ${answer.status}`).toBe(true);
  return (await answer.json()) as T;
}

/** The endpoints of the user's devices. */
async function endpointsOf(user: string): Promise<string[]> {
  const { devices } = await request<{ devices: { endpoint: string }[] }>(user, "GET", "/me/devices");
  return devices.map(({ endpoint }) => endpoint);
}

/** Bo has a browser with push, and shares a room with Ada, who has it open. */
async function twoPeople(roomName: string, others: readonly string[] = []) {
  const ada = await chat.signedIn("Ada");
  const bo = await chat.signedIn("Bo", {
    services: true,
    device: { serviceWorkers: "allow" },
    prepare: async (context) => {
      await prepareNotifications(context, chat.environment.demoWithServices);
      await service.serve(context, chat.environment.demoWithServices);
    },
  });
  const name = chat.name(roomName);
  const room = await chat.room(name, [ada.id, bo.id, ...others]);
  await ada.open(name);
  return { ada, bo, name, room };
}

/** Permits notifications, and waits until the page has registered its browser. */
async function permit(bo: Person): Promise<void> {
  await expect.poll(() => endpointsOf(bo.id), NOTIFICATION_TIMEOUT).toEqual([]);
  await permitNotifications(bo.page.context(), chat.environment.demoWithServices);
  await expect.poll(() => endpointsOf(bo.id)).toHaveLength(1);
}

/** The user sets the status "away" and closes the page. Returns another page of the site, which is no chat. */
async function leave(person: Person): Promise<Page> {
  const page = await person.page.context().newPage();
  await page.goto(`${chat.environment.demoWithServices}/icon.svg`);
  // A disconnected user stays online for some seconds, and `tidings-push` does not notify online users.
  await person.account.click();
  await person.page.getByRole("menuitemradio", { name: "Away" }).click();
  const status = async () => {
    const path = `/presence?user=${person.id}`;
    return (await chat.http<{ users: { status: string }[] }>(person.id, "GET", path)).users[0]?.status;
  };
  await expect.poll(status).toBe("away");
  await person.page.close();
  return page;
}

test(
  "a user without an open page is told of messages, and a click opens the last one",
  async () => {
    const { ada, bo, name, room } = await twoPeople("Away");
    await permit(bo);
    const origin = chat.environment.demoWithServices;
    const page = await leave(bo);
    await ada.say("tea?");
    const tag = `tidings/${room}`;
    await expect
      .poll(() => notificationsOf(page), NOTIFICATION_TIMEOUT)
      .toEqual([{ title: name, body: `New message from ${ada.name}`, tag }]);
    await ada.say("or coffee?");
    await expect
      .poll(() => notificationsOf(page), NOTIFICATION_TIMEOUT)
      .toEqual([{ title: name, body: "2 new messages", tag }]);

    const back = await chat.openTab(bo, origin);
    if (usesFirefox) await back.open(name);
    else await clickNotification(back.page.context());
    await back.page.getByRole("heading", { level: 1, name }).waitFor();
    await back.row("or coffee?").waitFor();
    expect(new URL(back.page.url()).hash).toContain(room);
    await expect.poll(() => notificationsOf(page), NOTIFICATION_TIMEOUT).toEqual([]);
  },
  TEST_TIMEOUT_MS,
);

test(
  "a notification is closed when its room is read in a page",
  async () => {
    const { ada, bo, name } = await twoPeople("Read");
    await permit(bo);
    const page = await leave(bo);
    await ada.say("tea?");
    await expect.poll(() => notificationsOf(page), NOTIFICATION_TIMEOUT).toHaveLength(1);
    const back = await chat.openTab(bo, chat.environment.demoWithServices);
    expect(await notificationsOf(page)).toHaveLength(1);
    await back.open(name);
    await back.row("tea?").waitFor();
    await expect.poll(() => notificationsOf(page), NOTIFICATION_TIMEOUT).toEqual([]);
  },
  TEST_TIMEOUT_MS,
);

/** Chooses an item of the menu of a room in the list. */
async function chooseInMenu(person: Person, room: string, item: string): Promise<void> {
  await person.roomLink(room).click({ button: "right" });
  const choice = person.page
    .getByRole("menu", { name: `Room ${room}` })
    .getByRole("menuitem", { name: item });
  await choice.waitFor();
  await chat.screenshot(person, `room-menu-${item.split(" ")[0]?.toLowerCase()}`);
  await choice.click();
}

test(
  "a muted room gives no notification, also not of a mention, until the user unmutes it",
  async () => {
    const { ada, bo, name, room } = await twoPeople("Muted");
    const otherName = chat.name("Loud");
    const otherRoom = await chat.room(otherName, [ada.id, bo.id]);
    await permit(bo);
    const device = service.device();
    await request(bo.id, "POST", "/me/devices", device.subscription);
    await chooseInMenu(bo, name, "Mute notifications until I unmute");
    await bo.roomLink(name).getByText("no notifications").waitFor({ state: "attached" });
    const page = await leave(bo);
    await chat.post(ada.id, room, "while it is muted", { mentions: [bo.id] });
    await chat.post(ada.id, otherRoom, "in another room");
    const rooms = () => device.received.map(({ room, seq }) => `${room} ${seq}`);
    await expect.poll(rooms, NOTIFICATION_TIMEOUT).toEqual([`${otherRoom} 1`]);
    const shown = async () => (await notificationsOf(page)).map(({ tag }) => tag).sort();
    await expect.poll(shown, NOTIFICATION_TIMEOUT).toEqual([`tidings/${otherRoom}`]);

    const back = await chat.openTab(bo, chat.environment.demoWithServices);
    await chooseInMenu(back, name, "Unmute notifications");
    await back.roomLink(name).getByText("no notifications").waitFor({ state: "detached" });
    await leave(back);
    await chat.post(ada.id, room, "after it", { mentions: [bo.id] });
    await expect.poll(rooms, NOTIFICATION_TIMEOUT).toEqual([`${otherRoom} 1`, `${room} 2`]);
    const bothTags = [`tidings/${otherRoom}`, `tidings/${room}`].sort();
    await expect.poll(shown, NOTIFICATION_TIMEOUT).toEqual(bothTags);
  },
  TEST_TIMEOUT_MS,
);

test(
  "a signed-out browser is not registered and gets no push messages",
  async () => {
    const carol = chat.name("carol").replaceAll(" ", "-");
    const { ada, bo } = await twoPeople("Signed out", [carol]);
    await permit(bo);
    const other = service.device();
    await request(carol, "POST", "/me/devices", other.subscription);
    const page = await leave(bo);
    await ada.say("before");
    await expect.poll(() => notificationsOf(page), NOTIFICATION_TIMEOUT).toHaveLength(1);
    await expect.poll(() => other.received.at(-1)?.seq, NOTIFICATION_TIMEOUT).toBe(1);

    const back = await chat.openTab(bo, chat.environment.demoWithServices);
    await back.account.click();
    await back.page.getByRole("menuitem", { name: "Sign out" }).click();
    await back.page.getByLabel("Your name").waitFor();
    await expect.poll(() => endpointsOf(bo.id), NOTIFICATION_TIMEOUT).toEqual([]);
    await expect.poll(() => notificationsOf(page), NOTIFICATION_TIMEOUT).toEqual([]);
    await back.page.close();
    await ada.say("after");
    await expect.poll(() => other.received.at(-1)?.seq, NOTIFICATION_TIMEOUT).toBe(2);
    expect(await notificationsOf(page)).toEqual([]);
  },
  TEST_TIMEOUT_MS,
);
