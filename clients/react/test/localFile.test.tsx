// @vitest-environment jsdom
import { act, renderHook } from "@testing-library/react";
import type { Attachment, Files } from "@tidings/client";
import { expect, test } from "vitest";
import { useLocalFile } from "../src/index.js";

test("a local file has an address as long as the component shows it", async () => {
  const open = new Set<string>();
  let count = 0;
  URL.createObjectURL = () => {
    const url = `blob:${++count}`;
    open.add(url);
    return url;
  };
  URL.revokeObjectURL = (url) => void open.delete(url);
  const local: Files["local"] = async ({ upload }) => (upload === "gone" ? undefined : new Blob(["x"]));
  const files = { local } as Files;
  const of = (upload: string): Attachment => ({ name: "a", upload, mediaType: "a/b", size: 1 });
  const { result, rerender, unmount } = renderHook(({ id }) => useLocalFile(files, of(id)), {
    initialProps: { id: "one" },
  });
  await act(async () => {});
  expect(result.current).toBe("blob:1");
  rerender({ id: "gone" });
  await act(async () => {});
  expect(result.current).toBeUndefined();
  expect([...open]).toEqual([]);
  rerender({ id: "two" });
  await act(async () => {});
  expect([...open]).toEqual([result.current]);
  unmount();
  expect([...open]).toEqual([]);
});
