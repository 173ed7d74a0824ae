// @vitest-environment jsdom
import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import { ChatApp, PageTitle, useChatRoute, useChatUi, useHashNavigation } from "../src/index.js";
import { show } from "./support.js";

/** Opens the kitchen from the list of rooms. */
async function openKitchen() {
  fireEvent.click(await screen.findByRole("link", { name: /kitchen/ }));
  return screen.findByRole("feed", { name: "Messages of kitchen" });
}

test("a chat lists the rooms, shows the messages of one, and sends a message", async () => {
  const { server } = show(<ChatApp />);
  expect(await screen.findAllByTestId("room-item")).toHaveLength(2);
  const feed = await openKitchen();
  await within(feed).findByText("tea?");
  fireEvent.change(screen.getByRole("textbox", { name: "Message to kitchen" }), {
    target: { value: "yes please" },
  });
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
  await waitFor(() => expect(server.contents("kitchen")).toEqual(["tea?", "yes please"]));
  await within(feed).findByText("yes please");
});

test("a chat without an address keeps the room in the memory and offers no links", async () => {
  show(<ChatApp />);
  await openKitchen();
  expect(window.location.hash).toBe("");
  fireEvent.contextMenu(screen.getByRole("link", { name: /kitchen/ }));
  await screen.findByRole("menu", { name: "Room kitchen" });
  expect(screen.queryByRole("menuitem", { name: "Copy link" })).toBeNull();
});

function HashChat() {
  return (
    <ChatApp navigation={useHashNavigation()}>
      <PageTitle app="Teahouse" />
    </ChatApp>
  );
}

test("a chat with hash navigation keeps the room in the address", async () => {
  show(<HashChat />);
  await openKitchen();
  expect(window.location.hash).toBe("#/room/kitchen");
  await waitFor(() => expect(document.title).toMatch(/kitchen · Teahouse$/));
  fireEvent.contextMenu(screen.getByRole("link", { name: /kitchen/ }));
  await screen.findByRole("menuitem", { name: "Copy link" });
  act(() => {
    window.location.hash = "#/room/garden";
  });
  await screen.findByRole("feed", { name: "Messages of garden" });
});

test("a link to a message jumps to it and leaves the address of the room", async () => {
  window.location.hash = "#/room/kitchen/at/1";
  show(<HashChat />);
  const text = await screen.findByText("tea?");
  await waitFor(() => expect(text.closest("article")?.hasAttribute("data-flash")).toBe(true));
  expect(window.location.hash).toBe("#/room/kitchen");
});

test("the panels open from the header and close with Escape", async () => {
  show(<ChatApp />);
  await openKitchen();
  fireEvent.click(screen.getByRole("button", { name: "Members" }));
  const panel = await screen.findByRole("complementary", { name: "Members" });
  await within(panel).findByText("Bob");
  fireEvent.keyDown(panel, { key: "Escape" });
  expect(screen.queryByRole("complementary")).toBeNull();
});

function Guide() {
  const { user, go } = useChatUi();
  const { room } = useChatRoute();
  return <button type="button" onClick={() => go({ room: "garden" })}>{`${user} in ${room}`}</button>;
}

test("a component among those of the chat knows the user and the place, and can go elsewhere", async () => {
  show(
    <ChatApp>
      <Guide />
    </ChatApp>,
  );
  fireEvent.click(await screen.findByRole("button", { name: "alice in undefined" }));
  await screen.findByRole("button", { name: "alice in garden" });
});

test("menus are inside the element of the provider, so that they have its theme", async () => {
  const { container } = show(<ChatApp />);
  fireEvent.click(await screen.findByRole("button", { name: "New conversation" }));
  const menu = await screen.findByRole("menu");
  expect(container.querySelector(".tidings-root")?.contains(menu)).toBe(true);
});

test("a refused user can sign in again only when the app can do it", async () => {
  const onSignIn = vi.fn();
  const { server, rerender } = show(<ChatApp onSignIn={onSignIn} />);
  await screen.findAllByTestId("room-item");
  act(() => {
    for (const session of [...server.sessions]) session.close(4403);
  });
  fireEvent.click(await screen.findByRole("button", { name: "Sign in again" }));
  expect(onSignIn).toHaveBeenCalledTimes(1);
  rerender(<ChatApp />);
  expect(screen.queryByRole("button", { name: "Sign in again" })).toBeNull();
});

test("a component outside of a provider throws an error that names the provider", () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  expect(() => show(<Guide />)).toThrow(/<ChatUiProvider>/);
  vi.restoreAllMocks();
});
