// @vitest-environment jsdom
// Mentions in the input, in messages and in the list of rooms, and fields for people.
import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { editMessage } from "@tidings/client/changes";
import { draft } from "@tidings/client/drafts";
import { expect, test, vi } from "vitest";
import { ChatUiProvider, DirectDialog, MembersPanel, RoomList, RoomView } from "../src/index.js";
import { show } from "./support.js";

const showRoom = () =>
  show(
    <ChatUiProvider user="alice">
      <RoomView room="kitchen" />
    </ChatUiProvider>,
  );

const type = (field: HTMLElement, value: string) => fireEvent.change(field, { target: { value } });

/** The input of a room whose members are loaded. */
async function readyInput(): Promise<HTMLTextAreaElement> {
  const input = await screen.findByRole<HTMLTextAreaElement>("textbox", { name: "Message to kitchen" });
  await screen.findByText("tea?");
  type(input, "@");
  await screen.findByRole("option", { name: /Bob/ });
  return input;
}

test("an @ offers the members, Enter inserts the name, and the message mentions the user", async () => {
  const { server, client } = showRoom();
  const input = await readyInput();
  type(input, "tea, @bo");
  expect(input.getAttribute("aria-activedescendant")).toBe(screen.getByRole("option", { name: /Bob/ }).id);
  fireEvent.keyDown(input, { key: "Enter" });
  expect(input.value).toBe("tea, @Bob ");
  expect(screen.queryByRole("listbox")).toBeNull();
  expect(draft(client.room("kitchen")).get().mentions).toEqual(["bob"]);
  expect(server.framesOf("message:send")).toEqual([]);
  fireEvent.keyDown(input, { key: "Enter" });
  await waitFor(() => expect(server.framesOf("message:send")[0]?.mentions).toEqual(["bob"]));
});

test("Escape closes the list, and removing the text removes the mention", async () => {
  const { server, client } = showRoom();
  const input = await readyInput();
  fireEvent.keyDown(input, { key: "Escape" });
  expect(screen.queryByRole("listbox")).toBeNull();
  type(input, "");
  type(input, "@b");
  fireEvent.click(screen.getByRole("option", { name: /Bob/ }));
  expect(draft(client.room("kitchen")).get().mentions).toEqual(["bob"]);
  type(input, "@Bo");
  expect(draft(client.room("kitchen")).get().mentions).toBeUndefined();
  type(input, "nobody");
  fireEvent.keyDown(input, { key: "Enter" });
  await waitFor(() => expect(server.framesOf("message:send")).toHaveLength(1));
  expect(server.framesOf("message:send")[0]?.mentions).toBeUndefined();
});

test("a private message offers and mentions only its audience", async () => {
  const { server, client } = showRoom();
  server.addMember("kitchen", "carol");
  const input = await readyInput();
  type(input, "");
  draft(client.room("kitchen")).set({
    content: "@Bob @",
    mentions: ["bob"],
    visibleTo: { users: ["carol"], roles: [] },
  });
  await waitFor(() => expect(input.value).toBe("@Bob @"));
  type(input, "@Bob hi @");
  await screen.findByRole("option", { name: /Carol/ });
  expect(screen.queryByRole("option", { name: /Bob/ })).toBeNull();
  fireEvent.keyDown(input, { key: "Tab" });
  expect(input.value).toBe("@Bob hi @Carol ");
  fireEvent.keyDown(input, { key: "Enter" });
  await waitFor(() => expect(server.framesOf("message:send")[0]?.mentions).toEqual(["carol"]));
});

test("a message with 20 mentions offers nobody else and says why, until one mention is removed", async () => {
  const { server, client } = showRoom();
  const users = Array.from({ length: 21 }, (_, index) => `guest-${index + 10}`);
  for (const user of users) server.addMember("kitchen", user);
  const input = await readyInput();
  type(input, "");
  const mentioned = users.slice(0, 20);
  const content = mentioned.map((user) => `@${user} `).join("");
  draft(client.room("kitchen")).set({ content, mentions: mentioned });
  await waitFor(() => expect(input.value).toBe(content));
  const notice = "A message mentions at most 20 people.";
  expect(screen.queryByText(notice)).toBeNull();
  type(input, `${content}@guest 3`);
  expect(screen.getByText(notice).getAttribute("role")).toBe("status");
  expect(screen.queryByRole("listbox")).toBeNull();
  // Another `@` that means nobody needs no notice.
  type(input, `${content}@nobody`);
  expect(screen.queryByText(notice)).toBeNull();
  type(input, `${content.replace("@guest-10 ", "")}@guest 3`);
  expect(screen.queryByText(notice)).toBeNull();
  fireEvent.click(screen.getByRole("option", { name: /Guest 30/ }));
  fireEvent.keyDown(input, { key: "Enter" });
  await waitFor(() => expect(server.framesOf("message:send")[0]?.mentions).toEqual(users.slice(1)));
});

test("an edit keeps the mentions, and sends others only when they changed", async () => {
  const { server } = showRoom();
  const input = await readyInput();
  type(input, "");
  server.say("kitchen", "alice", "hi @Bob", ["bob"]);
  await screen.findByTitle("Bob");
  fireEvent.keyDown(input, { key: "ArrowUp" });
  await waitFor(() => expect(input.value).toBe("hi @Bob"));
  type(input, "hello @Bob");
  fireEvent.click(screen.getByRole("button", { name: "Save" }));
  await waitFor(() => expect(server.framesOf("message:edit")).toHaveLength(1));
  expect(server.framesOf("message:edit")[0]).not.toHaveProperty("mentions");
  fireEvent.keyDown(input, { key: "ArrowUp" });
  await waitFor(() => expect(input.value).toBe("hello @Bob"));
  type(input, "hello");
  fireEvent.click(screen.getByRole("button", { name: "Save" }));
  await waitFor(() => expect(server.framesOf("message:edit")[1]?.mentions).toEqual([]));
});

test("a message highlights its mentions, and tells screen readers that it mentions the user", async () => {
  const { server, client } = showRoom();
  await screen.findByText("tea?");
  server.say("kitchen", "bob", "**cake** for @alice and @bob, not @carol", ["alice", "bob"]);
  const row = await screen.findByRole("article", { name: /cake.*mentions you/ });
  await waitFor(() => expect(within(row).getByTitle("Alice (you)").textContent).toBe("@alice"));
  expect(within(row).getByTitle("Bob").textContent).toBe("@bob");
  expect(row.querySelectorAll(".tidings-mention")).toHaveLength(2);
  server.say("kitchen", "alice", "for me", ["bob"]);
  await screen.findByText("for me");
  expect(screen.getAllByRole("article", { name: /mentions you/ })).toHaveLength(1);
  editMessage(client.room("kitchen"), 3, "for nobody", undefined, []).catch(() => {});
  await screen.findByText("for nobody");
});

test("the list of rooms counts mentions apart, and the menu of a room sets the notification level", async () => {
  const { server } = show(
    <ChatUiProvider user="alice">
      <RoomList />
    </ChatUiProvider>,
  );
  await screen.findByRole("link", { name: /kitchen/ });
  server.say("kitchen", "bob", "psst @alice", ["alice"]);
  const link = await screen.findByRole("link", { name: /an unread message mentions you.*unread/ });
  expect(link.dataset.muted).toBeUndefined();
  fireEvent.contextMenu(link);
  expect(
    screen.getByRole("menuitemradio", { name: "Notify about all messages" }).getAttribute("aria-checked"),
  ).toBe("true");
  fireEvent.click(screen.getByRole("menuitemradio", { name: "No notifications" }));
  const muted = await screen.findByRole("link", { name: /kitchen.*no notifications/ });
  expect(muted.dataset.muted).toBe("true");
  expect(server.room("kitchen").notify.get("alice")).toBe("none");
});

test("the panel of a room sets the notification level", async () => {
  const { server } = show(
    <ChatUiProvider user="alice">
      <MembersPanel room="kitchen" />
    </ChatUiProvider>,
  );
  const select = await screen.findByRole<HTMLSelectElement>("combobox", { name: "Notifications" });
  fireEvent.change(select, { target: { value: "mentions" } });
  await waitFor(() => expect(select.value).toBe("mentions"));
  expect(server.room("kitchen").notify.get("alice")).toBe("mentions");
});

test("a field for a person offers known people, and takes the id of the chosen one", async () => {
  const { server } = show(
    <ChatUiProvider user="alice" userIdOf={(name) => `made-of-${name}`}>
      <DirectDialog onClose={() => {}} />
    </ChatUiProvider>,
  );
  const created = vi.fn(() => undefined);
  server.http = (method, path) => (method === "POST" && path === "/rooms" ? created() : undefined);
  const field = screen.getByRole<HTMLInputElement>("textbox", { name: "Name" });
  await waitFor(() => expect(server.requests).toContainEqual(expect.stringContaining("/me/rooms")));
  type(field, "bo");
  fireEvent.click(await screen.findByRole("option", { name: /Bob/ }));
  expect(field.value).toBe("Bob");
  fireEvent.click(screen.getByRole("button", { name: "Open conversation" }));
  await waitFor(() => expect(created).toHaveBeenCalledTimes(1));
});

test("an unknown id is added only after a question, and a changed name asks again", async () => {
  const { server } = show(
    <ChatUiProvider user="alice">
      <DirectDialog onClose={() => {}} />
    </ChatUiProvider>,
  );
  await waitFor(() => expect(server.requests).toContainEqual(expect.stringContaining("/me/rooms")));
  const posts = () => server.requests.filter((request) => request === "POST /rooms").length;
  const field = screen.getByRole<HTMLInputElement>("textbox", { name: "Name" });
  type(field, "bobb");
  fireEvent.click(screen.getByRole("button", { name: "Open conversation" }));
  await screen.findByText(/Nobody you share a room with is called bobb. Did you mean Bob\?/);
  expect(posts()).toBe(0);
  type(field, "bobx");
  screen.getByRole("button", { name: "Open conversation" });
  type(field, "bobb");
  fireEvent.click(screen.getByRole("button", { name: "Open anyway" }));
  await waitFor(() => expect(posts()).toBe(1));
});
