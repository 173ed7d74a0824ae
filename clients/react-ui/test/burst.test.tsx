// @vitest-environment jsdom
import { screen, waitFor, within } from "@testing-library/react";
import { expect, test } from "vitest";
import { ChatUiProvider, RoomView } from "../src/index.js";
import { show } from "./support.js";

/** Above 50, the number of nested renders at which React throws an error. */
const BURST = 120;

/** Ten times what the test needs on an idle machine, in milliseconds. */
const LIMIT_MS = 60_000;

// An error of React in a listener of the kit becomes an uncaught error, which fails the run of the tests.
test("a burst of live messages is shown and announced", { timeout: LIMIT_MS }, async () => {
  const { server } = show(
    <ChatUiProvider>
      <RoomView room="kitchen" />
    </ChatUiProvider>,
  );
  await screen.findByText("tea?");
  const log = screen.getByRole("log", { name: "New messages" });
  await waitFor(() => expect(server.framesOf("room:join")).not.toHaveLength(0));
  // All frames arrive in one turn of the event loop, each in a task of its own, before tasks that React schedules.
  for (let number = 1; number <= BURST; number += 1) server.say("kitchen", "bob", `number ${number}`);
  await within(screen.getByRole("feed")).findByText(`number ${BURST}`, {}, { timeout: LIMIT_MS });
  await waitFor(() =>
    expect([...log.children].map((line) => line.textContent)).toEqual(
      [4, 3, 2, 1, 0].map((back) => `Bob: number ${BURST - back}`),
    ),
  );
});
