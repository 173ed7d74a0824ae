// @vitest-environment jsdom
// Changes of messages that are not saved yet, or that the server has refused.
import { fireEvent, screen } from "@testing-library/react";
import { TidingsError } from "@tidings/client";
import { editMessage } from "@tidings/client/changes";
import { expect, test, vi } from "vitest";
import { ChatUiProvider, RoomView } from "../src/index.js";
import { FailedChange } from "../src/room/FailedChange.js";
import { show } from "./support.js";

test("an edit is shown at once, and marked until the server has stored it", async () => {
  const { server, client } = show(
    <ChatUiProvider>
      <RoomView room="kitchen" />
    </ChatUiProvider>,
  );
  server.say("kitchen", "alice", "cake?");
  await screen.findByText("cake?");
  let answered = false;
  server.hook = ({ type }) =>
    type === "message:edit" && !answered ? { type: "error", code: "unavailable" } : undefined;
  editMessage(client.room("kitchen"), 2, "no cake").catch(() => {});
  await screen.findByText("no cake");
  screen.getByText("saving…");
  screen.getByRole("article", { name: /no cake.*not saved yet/ });
  answered = true;
  await vi.waitFor(() => expect(screen.queryByText("saving…")).toBeNull(), { timeout: 5_000 });
  screen.getByText("no cake");
});

test("a message that another user than its sender deleted shows who deleted it", async () => {
  const { server } = show(
    <ChatUiProvider>
      <RoomView room="kitchen" />
    </ChatUiProvider>,
  );
  for (const text of ["cake?", "coffee?"]) server.say("kitchen", "bob", text);
  await screen.findByText("coffee?");
  for (const [target, by] of [
    [1, "root"],
    [2, "bob"],
    [3, "alice"],
  ] as const) {
    server.append("kitchen", { type: "message:deleted", target, target_id: `m${target}-kitchen`, by });
  }
  await screen.findByText("You deleted this message");
  screen.getByText("Root deleted this message");
  screen.getByText("This message was deleted");
});

test("a refused change of an earlier page says why, and can be sent again or discarded", () => {
  const error = new TidingsError("forbidden");
  const { client } = show(
    <FailedChange change={{ clientId: "c1", type: "message:edit", status: "failed", error }} />,
  );
  const retry = vi.spyOn(client.outbox, "retry").mockReturnValue();
  const discard = vi.spyOn(client.outbox, "discard").mockReturnValue();
  const notice = screen.getByRole("group", { name: "Change not saved" });
  expect(notice.textContent).toContain("Your change was not saved. You are not allowed to do that here.");
  fireEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(retry).toHaveBeenCalledWith("c1");
  fireEvent.click(screen.getByRole("button", { name: "Discard" }));
  expect(discard).toHaveBeenCalledWith("c1");
});
