// @vitest-environment jsdom
// What a group shows besides its messages: readers, changes of members and settings, removal, archive and pictures.
import { act, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { expect, test } from "vitest";
import { Avatar, ChatApp } from "../src/index.js";
import { show } from "./support.js";

const feedOf = (name: string) => screen.findByRole("feed", { name: `Messages of ${name}` });

/** Opens the kitchen from the list of rooms. */
async function openKitchen() {
  fireEvent.click(await screen.findByRole("link", { name: /kitchen/ }));
  return feedOf("kitchen");
}

/** The user of the tests sends a message. */
function say(text: string) {
  fireEvent.change(screen.getByRole("textbox", { name: "Message to kitchen" }), { target: { value: text } });
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
}

test("the newest own message tells how many have read it, and names them", async () => {
  const { server } = show(<ChatApp />);
  server.room("kitchen").others.push("carol");
  const feed = await openKitchen();
  say("yes please");
  await within(feed).findByRole("img", { name: "Sent" });
  const { seq } = server.room("kitchen").log.at(-1) as { seq: number };
  const read = (user: string) =>
    act(() => server.push({ type: "receipt:read", room: "kitchen", marks: [{ user, seq }] }));
  read("bob");
  fireEvent.click(await within(feed).findByRole("button", { name: "Seen by 1 of 2" }));
  within(feed).getByRole("img", { name: "Delivered" });
  const dialog = await screen.findByRole("dialog", { name: "Message details" });
  const part = (title: string) => within(dialog).getByRole("heading", { name: title }).parentElement;
  expect(part("Read by")?.textContent).toContain("Bob");
  expect(part("Not delivered yet")?.textContent).toContain("Carol");
  read("carol");
  await within(feed).findByRole("img", { name: "Read" });
  expect(within(feed).queryByRole("button", { name: /Seen by/ })).toBeNull();
});

test("changes of members and settings are lines among the messages, before and after the room is opened", async () => {
  const { server } = show(<ChatApp />);
  server.addMember("kitchen", "carol");
  server.addMember("kitchen", "dave");
  server.say("kitchen", "bob", "welcome");
  const feed = await openKitchen();
  const row = (await within(feed).findByText("Bob added Carol and Dave")).parentElement;
  const before = row?.previousElementSibling?.textContent;
  expect([before, row?.nextElementSibling?.textContent]).toEqual([
    expect.stringContaining("tea?"),
    expect.stringContaining("welcome"),
  ]);
  act(() => server.rename("kitchen", "larder"));
  await within(await feedOf("larder")).findByText("Bob renamed the room to “larder”");
  const log = screen.getByRole("log", { name: "Changes of the room" });
  expect(log.textContent).toBe("Bob renamed the room to “larder”");
  expect(screen.getAllByTestId("system-row")).toHaveLength(2);
});

test("an event that becomes void disappears from the messages", async () => {
  const { server } = show(<ChatApp />);
  const feed = await openKitchen();
  await within(feed).findByText("tea?");
  act(() => server.addMember("kitchen", "carol"));
  await within(feed).findByText("Bob added Carol");
  act(() => {
    const void_ = { type: "message:void", target: 2, client_id: "c", by: "bob", reason: "rejected" };
    server.append("kitchen", void_);
  });
  await waitFor(() => expect(within(feed).queryByText("Bob added Carol")).toBeNull());
});

test("the changes of a room come with its messages, without another request", async () => {
  const { server } = show(<ChatApp />);
  for (const user of ["ann", "ben", "cy", "di"]) {
    server.append("kitchen", { type: "member:added", user, role: "member", by: user });
    server.append("kitchen", { type: "member:removed", user: `${user}-x`, by: `${user}-x` });
  }
  const feed = await openKitchen();
  await within(feed).findByText("Ann, Ben and 2 others joined");
  expect(screen.getByTestId("system-row").querySelectorAll("p")).toHaveLength(2);
  expect(server.requests.filter((request) => request.includes("/events"))).toEqual([]);
});

test("a removed user sees by whom", async () => {
  const { server } = show(<ChatApp />);
  const feed = await openKitchen();
  await within(feed).findByText("tea?");
  act(() => {
    server.append("kitchen", { type: "member:removed", user: "alice", by: "bob" });
  });
  await screen.findByRole("heading", { name: "You are not in this room" });
  screen.getByText("Bob removed you from this room.");
});

test("archived rooms are last in the list, below a heading, and have a notice in place of the input", async () => {
  const { server } = show(<ChatApp />);
  const feed = await openKitchen();
  await within(feed).findByText("tea?");
  const names = () => screen.getAllByTestId("room-item").map((item) => item.dataset.room);
  expect(names()).toEqual(["kitchen", "garden"]);
  expect(screen.queryByRole("heading", { name: "Archived" })).toBeNull();
  act(() => {
    server.append("kitchen", { type: "room:updated", archived: true, by: "bob" });
  });
  const heading = await screen.findByRole("heading", { name: "Archived" });
  expect(names()).toEqual(["garden", "kitchen"]);
  expect(heading.closest("li")?.nextElementSibling?.textContent).toContain("kitchen");
  await within(feed).findByText("Bob archived the room");
  await screen.findByText(/This room is archived/);
  expect(screen.queryByRole("textbox", { name: "Message to kitchen" })).toBeNull();
});

test("an imported message shows its original time", async () => {
  const { server } = show(<ChatApp />);
  server.append("kitchen", {
    type: "message:new",
    id: "old",
    client_id: "old",
    sender: { id: "bob" },
    kind: "text",
    content: "from long ago",
    metadata: { imported: { id: 1, at: "2019-05-04T12:00:00.000Z" } },
  });
  const feed = await openKitchen();
  const message = (await within(feed).findByText("from long ago")).closest("article");
  expect(message?.querySelector("time")?.dateTime).toBe("2019-05-04T12:00:00.000Z");
  await within(feed).findByText(/2019/);
});

test("an avatar shows a picture of the page's origin only, and initials when it cannot be loaded", () => {
  const picture = `${location.origin}/bo.png`;
  const { container, rerender } = render(<Avatar id="bo" name="Bo" picture={picture} />);
  const image = container.querySelector("img");
  expect(image?.src).toBe(picture);
  expect(image?.getAttribute("referrerpolicy")).toBe("no-referrer");
  expect(image?.getAttribute("loading")).toBe("lazy");
  fireEvent.error(image as HTMLImageElement);
  expect(container.querySelector("img")).toBeNull();
  expect(container.textContent).toBe("B");
  rerender(<Avatar id="bo" name="Bo" picture="/new.png" />);
  expect(container.querySelector("img")?.src).toBe(`${location.origin}/new.png`);
  for (const unsafe of [
    "https://pictures.example/bo.png",
    "//pictures.example/bo.png",
    "javascript:alert(1)",
    "data:image/png;base64,AA",
  ]) {
    rerender(<Avatar id="bo" name="Bo" picture={unsafe} />);
    expect(container.querySelector("img")).toBeNull();
  }
});

const PICTURE_ORIGINS = ["https://pictures.example"];

test("messages and members have the pictures of their users from allowed origins", async () => {
  const { server } = show(<ChatApp pictureOrigins={PICTURE_ORIGINS} />);
  const picture = "https://pictures.example/carol.png";
  server.append("kitchen", {
    type: "message:new",
    id: "n",
    client_id: "n",
    sender: { id: "dave", name: "Dave", picture: "https://pictures.example.evil.example/dave.png" },
    kind: "text",
    content: "tracked?",
  });
  server.append("kitchen", {
    type: "message:new",
    id: "m",
    client_id: "m",
    sender: { id: "carol", name: "Carol", picture },
    kind: "text",
    content: "hello",
  });
  server.http = (_method, path) =>
    path.endsWith("/members")
      ? {
          status: 200,
          body: { members: [{ user: "carol", name: "Carol", picture, role: "member" }], next: null },
        }
      : undefined;
  const feed = await openKitchen();
  const message = (await within(feed).findByText("hello")).closest("article");
  expect(message?.querySelector("img")?.src).toBe(picture);
  const tracking = (await within(feed).findByText("tracked?")).closest("article");
  expect(tracking?.querySelector("img")).toBeNull();
  fireEvent.click(screen.getByRole("button", { name: "Members" }));
  const panel = await screen.findByRole("complementary", { name: "Members" });
  const member = (await within(panel).findByText("Carol")).closest("li");
  expect(member?.querySelector("img")?.src).toBe(picture);
});
