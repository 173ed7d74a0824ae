// @vitest-environment jsdom
// The time of an item in the list of rooms.
import { screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import { ChatUiProvider, RoomList } from "../src/index.js";
import { show } from "./support.js";

const showList = () =>
  show(
    <ChatUiProvider user="alice">
      <RoomList />
    </ChatUiProvider>,
  );

/** The time in the item of a room, as its attribute; undefined without a time. */
const timeOf = async (room: string) =>
  (await screen.findByRole("link", { name: new RegExp(room) })).querySelector("time")?.dateTime;

test("an imported last message shows its original time, and a later message its own", async () => {
  const { server } = showList();
  const original = "2019-05-04T12:00:00.000Z";
  server.append("kitchen", {
    type: "message:new",
    id: "m2-kitchen",
    client_id: "imported",
    sender: { id: "bob" },
    kind: "text",
    content: "from the old chat",
    metadata: { imported: { id: 7, at: original } },
  });
  await waitFor(async () => expect(await timeOf("kitchen")).toBe(original));
  const { at } = server.say("kitchen", "bob", "from this chat");
  await waitFor(async () => expect(await timeOf("kitchen")).toBe(at));
});

test("a room without messages shows when it was created", async () => {
  const { server } = showList();
  server.room("garden").createdAt = "2024-02-03T04:05:06.000Z";
  expect(await timeOf("garden")).toBe("2024-02-03T04:05:06.000Z");
});

test("a room that is joined before the list is read shows no time", async () => {
  const { server } = showList();
  const refusal = { status: 503, body: { code: "unavailable" } };
  server.http = (_, path) => (path === "/me/rooms" ? refusal : undefined);
  expect(await timeOf("kitchen")).toBeUndefined();
});
