// @vitest-environment jsdom
// Slow mode in a room: the line at the input, the countdown, and a message that waits.
import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import type { RoomSummary } from "@tidings/client";
import { expect, test } from "vitest";
import { ChatUiProvider, RoomView } from "../src/index.js";
import { countdown } from "../src/logic/time.js";
import { slowModeOf } from "../src/room/permissions.js";
import { show } from "./support.js";

test("slow mode limits members, and not those who may change it", () => {
  const of = (role: string) => slowModeOf({ role, slowModeS: 30 } as RoomSummary);
  expect(["owner", "admin", "member", "vip"].map(of)).toEqual([0, 0, 30, 30]);
  expect(slowModeOf(undefined)).toBe(0);
});

test("a countdown has seconds, or minutes and seconds", () => {
  expect([-1, 0, 1, 11_001, 60_000, 3_599_000].map(countdown)).toEqual([
    "0 s",
    "0 s",
    "1 s",
    "12 s",
    "1:00",
    "59:59",
  ]);
});

test("a room with slow mode says so, and a refused message says when it will be sent", async () => {
  const { server } = show(
    <ChatUiProvider>
      <RoomView room="kitchen" />
    </ChatUiProvider>,
  );
  await screen.findByText("tea?");
  expect(screen.queryByTestId("slow-mode")).toBeNull();
  await waitFor(() => expect(server.framesOf("room:join")).not.toHaveLength(0));
  server.append("kitchen", { type: "room:updated", slow_mode_s: 30, by: "bob" });
  const line = await screen.findByTestId("slow-mode");
  expect(line.textContent?.trim()).toBe("Slow mode: one message in 30 seconds.");
  const refusal = { type: "error", code: "rate_limited", reason: "slow_mode", retry_after_ms: 20_000 };
  server.hook = (frame) => (frame.type === "message:send" ? refusal : undefined);
  const input = screen.getByTestId("composer");
  fireEvent.change(input, { target: { value: "soon" } });
  fireEvent.keyDown(input, { key: "Enter" });
  const feed = within(screen.getByRole("feed"));
  await feed.findByText(/^sends in (19|20) s$/);
  expect(line.textContent).toMatch(/You can send again in (19|20) s\.$/);
  // The room has no slow mode any more, so the message is sent at once.
  server.hook = undefined;
  server.append("kitchen", { type: "room:updated", slow_mode_s: 0, by: "bob" });
  await waitFor(() => expect(feed.queryByText(/^sends in/)).toBeNull());
  await waitFor(() => expect(screen.queryByTestId("slow-mode")).toBeNull());
  expect(server.contents("kitchen")).toEqual(["tea?", "soon"]);
});
