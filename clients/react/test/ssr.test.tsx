// @vitest-environment jsdom
import { act } from "@testing-library/react";
import { hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { expect, test } from "vitest";
import {
  TidingsProvider,
  useConnection,
  useMembers,
  useMessages,
  useOutbox,
  usePresence,
  useRead,
  useReceipts,
  useRoom,
  useRooms,
  useTyping,
} from "../src/index.js";
import { clientOf, live, optionsFor, startServer } from "./support.js";

function Everything() {
  const { observe } = useRead("kitchen");
  const { items, phase } = useMessages("kitchen");
  const shown = {
    state: useConnection().state,
    rooms: useRooms().items.length,
    phase,
    room: useRoom("kitchen").phase,
    messages: items.map((message) => message.content),
    typing: useTyping("kitchen").typing.length,
    presence: usePresence(["bob"]).size,
    receipts: useReceipts("kitchen").size,
    members: useMembers("kitchen").items?.length ?? null,
    outbox: useOutbox().items.length,
  };
  return <p ref={observe(1)}>{JSON.stringify(shown)}</p>;
}

test("a server renders a page without a connection", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  const html = renderToString(
    <TidingsProvider options={optionsFor(network)}>
      <Everything />
    </TidingsProvider>,
  );
  expect(html).toContain("disconnected");
  await new Promise((done) => setTimeout(done, 200));
  expect(network.attempts).toBe(0);
  expect(server.requests).toEqual([]);
});

test("hydration first shows the server's page, and then the newer state of the client", async () => {
  const { network, server } = startServer();
  server.addRoom("kitchen");
  server.say("kitchen", "bob", "hello from before");
  const { client } = clientOf(network);
  const page = (
    <TidingsProvider client={client}>
      <Everything />
    </TidingsProvider>
  );
  const container = document.createElement("div");
  container.innerHTML = renderToString(page);
  expect(container.textContent).not.toContain("hello from before");
  const release = client.room("kitchen").open();
  await client.connect();
  await live(client.room("kitchen"));
  const errors: unknown[] = [];
  const root = await act(async () =>
    hydrateRoot(container, page, { onRecoverableError: (error) => errors.push(error) }),
  );
  expect(errors).toEqual([]);
  expect(container.textContent).toContain("hello from before");
  await act(async () => root.unmount());
  release();
});
