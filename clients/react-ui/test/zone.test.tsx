// @vitest-environment jsdom
// The times of an open room when the zone of the device changes.
import { fireEvent, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { ChatUiProvider, RoomView } from "../src/index.js";
import { show } from "./support.js";

afterEach(() => vi.unstubAllEnvs());

test("an open room shows its times in the new zone of the device", async () => {
  vi.stubEnv("TZ", "UTC");
  show(
    <ChatUiProvider>
      <RoomView room="kitchen" />
    </ChatUiProvider>,
  );
  const row = await screen.findByTestId("message-row");
  const shown = () => row.querySelector("time")?.textContent;
  const [before, label] = [shown(), row.getAttribute("aria-label")];
  vi.stubEnv("TZ", "Asia/Kathmandu");
  fireEvent(document, new Event("visibilitychange"));
  expect(shown()).not.toBe(before);
  expect(row.getAttribute("aria-label")).not.toBe(label);
});
