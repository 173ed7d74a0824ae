// @vitest-environment jsdom
// Everything in a message can be reached by keyboard: Tab moves through the message that has the focus, and its menu
// opens its links.
import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { type Message, TidingsError } from "@tidings/client";
import { afterEach, expect, test, vi } from "vitest";
import { ChatUiProvider, RoomView } from "../src/index.js";
import { ActionsProvider, type MessageActions } from "../src/room/actions.js";
import { MessageRow } from "../src/room/MessageRow.js";
import { me, message } from "./message.js";
import { show } from "./support.js";

afterEach(() => vi.restoreAllMocks());

/** A room with a reply of bob, which has links, a file at another server and a reaction. */
async function openRoom() {
  const { server } = show(
    <ChatUiProvider>
      <RoomView room="kitchen" />
    </ChatUiProvider>,
  );
  await screen.findByText("tea?");
  await waitFor(() => expect(server.framesOf("room:join")).not.toHaveLength(0));
  const content = "see https://one.example and **[two](https://two.example/a)** and https://one.example";
  const file = { name: "plan.pdf", url: "https://files.example/plan.pdf", media_type: "a/b", size: 1 };
  act(() => {
    server.append("kitchen", {
      type: "message:new",
      id: "m2",
      client_id: "c2",
      sender: { id: "bob" },
      kind: "text",
      content,
      reply_to: 1,
      attachments: [file],
    });
    server.append("kitchen", { type: "reaction:added", target: 2, target_id: "m2", emoji: "👍", by: "bob" });
  });
  const row = await screen.findByRole("article", { name: /see https/ });
  await within(row).findByRole("button", { name: /^👍 1/ });
  await within(row).findByRole("link", { name: "two" });
  return { server, row };
}

/** The links and buttons of a row in the order of Tab. */
const stopsOf = (row: HTMLElement) =>
  [...row.querySelectorAll<HTMLElement>("a, button")].filter(({ tabIndex }) => tabIndex >= 0);

test("Tab moves through the message that has the focus, and through no other", async () => {
  const { row } = await openRoom();
  const other = screen.getByRole("article", { name: /: tea\?/ });
  expect([stopsOf(row), stopsOf(other)]).toEqual([[], []]);
  act(() => row.focus());
  const all = [...row.querySelectorAll("a, button")];
  expect(stopsOf(row)).toEqual(all);
  const names = all.map((element) => element.getAttribute("aria-label") ?? element.textContent ?? "");
  for (const name of [/^In reply to/, /one\.example/, /^two$/, /plan\.pdf/, /^👍 1/, /^React$/, /^More/]) {
    expect(
      names.some((one) => name.test(one)),
      `${name}`,
    ).toBe(true);
  }
  expect([row.tabIndex, other.tabIndex, stopsOf(other).length]).toEqual([0, -1, 0]);
  // A link keeps the stops of its row; Escape goes back to the row.
  const link = within(row).getByRole("link", { name: "two" });
  act(() => link.focus());
  expect(stopsOf(row)).toEqual(all);
  fireEvent.keyDown(link, { key: "Escape" });
  expect(document.activeElement).toBe(row);
  act(() => other.focus());
  expect(stopsOf(row)).toEqual([]);
  expect(stopsOf(other).length).toBeGreaterThan(0);
});

test.each<[string, Partial<Message>, string[]]>([
  ["a sent message", {}, ["Seen by 1 of 2"]],
  ["a refused message", { status: "failed", error: new TidingsError("forbidden") }, ["Try again", "Discard"]],
  [
    "a refused change",
    {
      pendingChange: {
        clientId: "c9",
        type: "message:edit",
        status: "failed",
        error: new TidingsError("forbidden"),
      },
    },
    ["Try again", "Discard"],
  ],
])("Tab moves through the notice of %s only while it has the focus", (_name, more, buttons) => {
  show(
    <ChatUiProvider>
      <ActionsProvider value={{} as MessageActions}>
        <MessageRow
          message={message(1, { sender: me, ...more })}
          first
          last
          tick="read"
          seen={buttons.length === 1 ? buttons[0] : undefined}
          group
          writable={false}
          flash={false}
          observe={undefined}
        />
      </ActionsProvider>
    </ChatUiProvider>,
  );
  const row = screen.getByRole("article");
  expect(stopsOf(row)).toEqual([]);
  act(() => row.focus());
  expect(stopsOf(row).map(({ textContent }) => textContent)).toEqual(expect.arrayContaining(buttons));
});

test("the menu of a message opens its links and its quote", async () => {
  const { row } = await openRoom();
  const opened = vi.spyOn(window, "open").mockImplementation(() => null);
  act(() => row.focus());
  fireEvent.keyDown(row, { key: "Enter" });
  screen.getByRole("menuitem", { name: "Go to quoted message" });
  const items = screen.getAllByRole("menuitem", { name: /^Open / });
  expect(items.map(({ textContent }) => textContent)).toEqual([
    "Open https://one.example",
    "Open https://two.example/a",
    "Open plan.pdf",
  ]);
  fireEvent.click(items[1] as HTMLElement);
  expect(opened.mock.calls).toEqual([["https://two.example/a", "_blank", "noopener,noreferrer"]]);
});
