// @vitest-environment jsdom
import { act, renderHook } from "@testing-library/react";
import type { FileLink, Files } from "@tidings/client";
import { type Attachment, TidingsError } from "@tidings/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { useFileUrl, useUpload } from "../src/index.js";

const message = { room: "r", seq: 7 };
const attachment: Attachment = { name: "a.png", file: "f", mediaType: "image/png", size: 1 };

/** Files whose links a test answers. */
function fakeFiles(answer: (call: number, fresh: boolean) => FileLink | TidingsError) {
  const calls: boolean[] = [];
  const link: Files["link"] = async (_message, _attachment, { fresh = false } = {}) => {
    calls.push(fresh);
    const given = answer(calls.length, fresh);
    if (given instanceof Error) throw given;
    return given;
  };
  const isHeld: Files["isHeld"] = (error) => (error as TidingsError).reason === "held";
  return { files: { link, isHeld } as Files, calls };
}

const goodFor = (call: number, ms: number) => ({ url: `https://x.test/${call}`, expiresAt: Date.now() + ms });
const pass = (ms: number) => act(() => vi.advanceTimersByTimeAsync(ms));

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("an address that is not in use yet is renewed before it ends", async () => {
  const { files, calls } = fakeFiles((call) => goodFor(call, 300_000));
  const { result, rerender } = renderHook(
    ({ keepFresh }) => useFileUrl(files, message, attachment, keepFresh),
    {
      initialProps: { keepFresh: true },
    },
  );
  await pass(0);
  expect(result.current.url).toBe("https://x.test/1");
  await pass(250_000);
  expect(result.current.url).toBe("https://x.test/1");
  await pass(10_000);
  expect(result.current.url).toBe("https://x.test/2");
  expect(calls).toEqual([false, true]);
  // The element has loaded the file, so the address stays.
  rerender({ keepFresh: false });
  await pass(600_000);
  expect(result.current.url).toBe("https://x.test/2");
});

test("a held file is asked for again, a refused one is not", async () => {
  const held = new TidingsError("conflict", "", { reason: "held" });
  const { files, calls } = fakeFiles((call) => (call < 3 ? held : new TidingsError("not_found")));
  const { result } = renderHook(() => useFileUrl(files, message, attachment));
  await pass(0);
  expect(result.current).toMatchObject({ held: true, url: undefined });
  await pass(20_000);
  expect(result.current).toMatchObject({ held: false, error: { code: "not_found" } });
  await pass(600_000);
  expect(calls.length).toBe(3);
});

test("a failure is repeated with growing pauses, and not after the end of the component", async () => {
  const { files, calls } = fakeFiles(() => new TidingsError("network"));
  const { unmount } = renderHook(() => useFileUrl(files, message, attachment));
  await pass(0);
  await pass(2_000);
  await pass(4_000);
  expect(calls.length).toBe(3);
  await pass(7_000);
  expect(calls.length).toBe(3);
  unmount();
  await pass(600_000);
  expect(calls.length).toBe(3);
});

test("an address of another server and a missing seq need no request", async () => {
  const { files, calls } = fakeFiles((call) => goodFor(call, 1));
  const elsewhere = { name: "a", url: "https://y.test/a", mediaType: "a/b", size: 1 };
  const { result } = renderHook(() => [
    useFileUrl(files, message, elsewhere).url,
    useFileUrl(files, { room: "r", seq: undefined }, attachment).url,
    useUpload(files, undefined),
  ]);
  await pass(1_000);
  expect(result.current).toEqual(["https://y.test/a", undefined, undefined]);
  expect(calls).toEqual([]);
});
