// @vitest-environment jsdom
import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import type { Message } from "@tidings/client";
import { afterEach, expect, test, vi } from "vitest";
import { Avatar, ChatApp, ChatErrorBoundary, type ChatSlots, MessageText } from "../src/index.js";
import { show } from "./support.js";

afterEach(() => {
  vi.restoreAllMocks();
});

const SLOTS: ChatSlots = {
  Avatar: (props) => <Avatar {...props} name="Zoe Quick" />,
  MessageText: ({ message }) => (
    <>
      <b>[{message.sender.id}]</b> <MessageText message={message} />
    </>
  ),
  RoomItem: ({ room, current }) => <span>{`${room.name}${current ? " (open)" : ""}`}</span>,
  HeaderActions: ({ room, summary }) => <button type="button">{`Call ${room} ${summary?.kind}`}</button>,
  ComposerButtons: ({ room, insert }) => (
    <button type="button" onClick={() => insert("¯\\_(ツ)_/¯")}>
      {`Shrug ${room}`}
    </button>
  ),
  EmptyState: ({ hasRooms }) => <main>{hasRooms ? "pick one" : "nothing here"}</main>,
  SidebarHeader: () => <h1>My chat</h1>,
};

test("each slot replaces its part and gets its properties", async () => {
  const { server } = show(<ChatApp slots={SLOTS} />);
  await screen.findByText("pick one");
  screen.getByRole("heading", { name: "My chat" });
  expect(screen.queryByRole("button", { name: /alice/i })).toBeNull();
  const link = await screen.findByRole("link", { name: "kitchen" });
  fireEvent.click(link);
  await screen.findByRole("link", { name: "kitchen (open)" });
  const feed = await screen.findByRole("feed");
  const text = await within(feed).findByText("[bob]");
  expect(text.parentElement?.textContent).toBe("[bob] tea?");
  expect(within(feed).getByText("ZQ").className).toContain("tidings-avatar");
  await screen.findByRole("button", { name: "Call kitchen private" });
  fireEvent.click(screen.getByRole("button", { name: "Shrug kitchen" }));
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
  await waitFor(() => expect(server.contents("kitchen")).toEqual(["tea?", "¯\\_(ツ)_/¯"]));
});

test("the empty state says when the user has no rooms", async () => {
  const { server } = show(<ChatApp slots={SLOTS} />);
  await screen.findByText("pick one");
  server.rooms.clear();
  act(() => {
    for (const id of ["kitchen", "garden"])
      for (const session of [...server.sessions]) session.send({ type: "room:removed", room: id });
  });
  await screen.findByText("nothing here");
});

/** Throws for one text. React writes each error to the console. */
function FragileText({ message }: { message: Message }) {
  if (message.content === "boom") throw new Error("cannot show this");
  return <MessageText message={message} />;
}

test("a message whose text throws does not hide the others", async () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  const { server } = show(<ChatApp slots={{ MessageText: FragileText }} />);
  server.say("kitchen", "bob", "boom");
  server.say("kitchen", "bob", "still here");
  fireEvent.click(await screen.findByRole("link", { name: /kitchen/ }));
  const feed = await screen.findByRole("feed");
  await within(feed).findByText("This message cannot be shown");
  within(feed).getByText("tea?");
  within(feed).getByText("still here");
});

let isBroken = true;

/** Throws until the test repairs it. */
function FragilePart() {
  if (isBroken) throw new Error("broken part");
  return <p>works</p>;
}

test("an error boundary reports an error, shows a notice, and shows its children again", () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  isBroken = true;
  const onError = vi.fn();
  show(
    <ChatErrorBoundary onError={onError}>
      <FragilePart />
    </ChatErrorBoundary>,
  );
  screen.getByRole("alert");
  expect(onError.mock.calls[0]?.[0]).toEqual(new Error("broken part"));
  fireEvent.click(screen.getByRole("button", { name: "Try again" }));
  screen.getByRole("alert");
  isBroken = false;
  fireEvent.click(screen.getByRole("button", { name: "Try again" }));
  screen.getByText("works");
  expect(screen.queryByRole("alert")).toBeNull();
});

test("an error boundary shows the fallback of the app", () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  isBroken = true;
  show(
    <ChatErrorBoundary fallback={({ error }) => <p>{(error as Error).message}</p>}>
      <FragilePart />
    </ChatErrorBoundary>,
  );
  screen.getByText("broken part");
});

/** Throws in one room. */
function FragileActions({ room }: { room: string }) {
  if (room === "kitchen") throw new Error("no actions");
  return null;
}

test("a room that fails keeps the list of rooms, and another room is shown", async () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  show(<ChatApp slots={{ HeaderActions: FragileActions }} />);
  fireEvent.click(await screen.findByRole("link", { name: /kitchen/ }));
  await screen.findByText("Something went wrong here.");
  fireEvent.click(screen.getByRole("link", { name: /garden/ }));
  await screen.findByRole("feed", { name: "Messages of garden" });
});
