// @vitest-environment jsdom
// A room of 10,000 members reads no member list: only the panel and dialogs do, by page.
import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { draft } from "@tidings/client/drafts";
import { expect, test, vi } from "vitest";
import { ChatApp } from "../src/index.js";
import { namesOf } from "../src/state/names.js";
import { show } from "./support.js";

// A test takes up to 3 s on an idle machine.
vi.setConfig({ testTimeout: 60_000 });

const userOf = (n: number) => `user-${String(n).padStart(5, "0")}`;

/** The kitchen with this many other members, opened by a user whose requests are counted. */
async function openLargeRoom(others = 9_999) {
  const page = show(<ChatApp />);
  const { server } = page;
  server.room("kitchen").others.push(...Array.from({ length: others }, (_, n) => userOf(n)));
  const link = await screen.findByRole("link", { name: /kitchen/ });
  server.requests.length = 0;
  fireEvent.click(link);
  const feed = await screen.findByRole("feed", { name: "Messages of kitchen" });
  await within(feed).findByText("tea?");
  const requests = (path: string) => server.requests.filter((request) => request.includes(path));
  return { ...page, feed, requests };
}

const pause = (ms: number) => act(() => new Promise<void>((done) => setTimeout(done, ms)));

test("a large room opens with a handful of requests, and joins cause none", async () => {
  const { server, feed, requests } = await openLargeRoom();
  await pause(300);
  expect(requests("/members")).toEqual([]);
  expect(server.requests.length).toBeLessThan(8);
  const before = server.requests.length;
  for (let n = 0; n < 10; n++) act(() => server.addMember("kitchen", `new-${n}`, `Newcomer ${n}`));
  await within(feed).findByText(/Bob added Newcomer 0, .*others/);
  // The kit used to read the list of members again after a second.
  await pause(1_500);
  expect(server.requests.slice(before)).toEqual([]);
  expect(screen.getByRole("log", { name: "Changes of the room" }).textContent).toContain("Newcomer 9");
});

test("the panel of a large room loads one page, and further ones on demand", async () => {
  const { requests } = await openLargeRoom();
  fireEvent.click(screen.getByRole("button", { name: "Members" }));
  const panel = await screen.findByRole("complementary", { name: "Members" });
  const rows = () => panel.querySelectorAll(".tidings-members > li").length;
  await waitFor(() => expect(rows()).toBe(200));
  within(panel).getByText("10001 members");
  expect(requests("/members")).toHaveLength(1);
  fireEvent.click(within(panel).getByRole("button", { name: "Show more members" }));
  await waitFor(() => expect(rows()).toBe(400));
  expect(requests("/members")).toHaveLength(2);
});

test("the last page of members is announced, and takes the focus of the button", async () => {
  const { server } = await openLargeRoom(249);
  fireEvent.click(screen.getByRole("button", { name: "Members" }));
  const panel = await screen.findByRole("complementary", { name: "Members" });
  const rows = panel.getElementsByTagName("li");
  await waitFor(() => expect(rows).toHaveLength(200));
  const button = within(panel).getByRole("button", { name: "Show more members" });
  button.focus();
  fireEvent.click(button);
  expect(button.parentElement?.getAttribute("aria-busy")).toBe("true");
  await waitFor(() => expect(rows).toHaveLength(251));
  expect(button.isConnected).toBe(false);
  expect(document.activeElement).toBe(rows[200]);
  const status = within(panel).getByText("51 more members, 251 in the list");
  expect(status.getAttribute("role")).toBe("status");
  // Later changes of the list are not announced here.
  act(() => server.addMember("kitchen", "new", "Newcomer"));
  await waitFor(() => expect(rows).toHaveLength(252));
  expect(status.textContent).toContain("51 more members");
});

test("a page of members that failed is loaded again below those that are shown", async () => {
  const { server } = await openLargeRoom();
  fireEvent.click(screen.getByRole("button", { name: "Members" }));
  const panel = await screen.findByRole("complementary", { name: "Members" });
  const rows = () => panel.querySelectorAll(".tidings-members > li").length;
  await waitFor(() => expect(rows()).toBe(200));
  server.http = (_method, path) =>
    path.endsWith("/members") ? { status: 403, body: { code: "forbidden" } } : undefined;
  fireEvent.click(within(panel).getByRole("button", { name: "Show more members" }));
  const retry = await within(panel).findByRole("button", { name: "Try again" });
  server.http = undefined;
  fireEvent.click(retry);
  await waitFor(() => expect(rows()).toBe(400));
});

test("an @ in a large room asks the server for people of the room", async () => {
  const { server, client, requests } = await openLargeRoom();
  const input = screen.getByRole<HTMLTextAreaElement>("textbox", { name: "Message to kitchen" });
  fireEvent.change(input, { target: { value: `@${userOf(7777)}` } });
  fireEvent.click(await screen.findByRole("option", { name: /User 07777/ }));
  expect(input.value).toBe("@User 07777 ");
  expect(draft(client.room("kitchen")).get().mentions).toEqual([userOf(7777)]);
  expect(requests("/me/people")).toEqual([expect.stringContaining("room=kitchen")]);
  fireEvent.keyDown(input, { key: "Enter" });
  await waitFor(() => expect(server.framesOf("message:send")[0]?.mentions).toEqual([userOf(7777)]));
  expect(requests("/members")).toEqual([]);
});

test("a mention in a large room has the name of a member whom the page has not met", async () => {
  const { server, requests } = await openLargeRoom(150);
  server.http = (_method, path) =>
    path === "/me/people"
      ? { status: 200, body: { people: [{ user: userOf(5), name: "Zoe Five", picture: null }] } }
      : undefined;
  for (const text of ["thanks, @Zoe Five!", "again, @Zoe Five"])
    act(() => void server.say("kitchen", "bob", text, [userOf(5)]));
  await waitFor(() => expect(screen.getAllByTitle("Zoe Five")).toHaveLength(2));
  expect(requests("/me/people")).toHaveLength(1);
});

test("the members of a large room do not all look up a mention at once", async () => {
  const { server, feed, requests } = await openLargeRoom();
  const random = vi.spyOn(Math, "random").mockReturnValue(0.9);
  act(() => void server.say("kitchen", "bob", "thanks, @Zoe Five!", [userOf(5)]));
  await within(feed).findByText(/thanks/);
  await pause(300);
  random.mockRestore();
  expect(requests("/me/people")).toEqual([]);
});

test("a name that arrives later shows in system lines and reactions", async () => {
  const { server, client, feed } = await openLargeRoom();
  const [{ seq: target, id: target_id }] = server.room("kitchen").log as [{ seq: number; id: string }];
  act(() => void server.append("kitchen", { type: "member:removed", user: userOf(5), by: "bob" }));
  act(
    () =>
      void server.append("kitchen", {
        type: "reaction:added",
        target,
        target_id,
        emoji: "🎉",
        by: userOf(5),
      }),
  );
  await within(feed).findByText(/removed User 00005/);
  await within(feed).findByTitle("User 00005");
  act(() => namesOf(client).learn([{ user: userOf(5), name: "Zoe Five" }]));
  await within(feed).findByText(/removed Zoe Five/);
  await within(feed).findByTitle("Zoe Five");
});

test("a message in a large room tells how many have read it, and names nobody", async () => {
  const { server, feed } = await openLargeRoom();
  const input = screen.getByRole("textbox", { name: "Message to kitchen" });
  fireEvent.change(input, { target: { value: "hello" } });
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
  await within(feed).findByRole("img", { name: "Sent" });
  const { seq } = server.room("kitchen").log.at(-1) as { seq: number };
  const marks = Array.from({ length: 37 }, (_, n) => ({ user: userOf(n), seq }));
  act(() => server.push({ type: "receipt:read", room: "kitchen", marks }));
  const row = (await within(feed).findByText("hello")).closest("article") as HTMLElement;
  fireEvent.contextMenu(row.querySelector(".tidings-bubble") as HTMLElement);
  fireEvent.click(await screen.findByRole("menuitem", { name: /details/i }));
  const dialog = await screen.findByRole("dialog", { name: "Message details" });
  await within(dialog).findByText("37 people");
  expect(dialog.textContent).not.toContain("User 0");
});

test("a message to roles of a large room does not say who has read it", async () => {
  const { server, feed } = await openLargeRoom();
  const message = { type: "message:new", id: "m9", client_id: "c9", sender: { id: "alice" }, kind: "text" };
  const visible_to = { users: [], roles: ["admin"] };
  const { seq } = server.append("kitchen", { ...message, content: "for admins", visible_to });
  const row = (await within(feed).findByText("for admins")).closest("article") as HTMLElement;
  act(() => server.push({ type: "receipt:read", room: "kitchen", marks: [{ user: userOf(1), seq }] }));
  fireEvent.contextMenu(row.querySelector(".tidings-bubble") as HTMLElement);
  fireEvent.click(await screen.findByRole("menuitem", { name: /details/i }));
  const dialog = await screen.findByRole("dialog", { name: "Message details" });
  within(dialog).getByText("Sent");
  expect(within(dialog).queryByText("Read by")).toBeNull();
});
