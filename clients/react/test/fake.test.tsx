// @vitest-environment jsdom
import { renderHook } from "@testing-library/react";
import type { Room, Store, TidingsClientLike } from "@tidings/client";
import { expect, test } from "vitest";
import { TidingsProvider, useConnection, useMe } from "../src/index.js";

function constant<T>(value: T): Store<T> {
  return { get: () => value, subscribe: () => () => {} };
}

test("the provider takes an object of the test as client", () => {
  const fake: Pick<TidingsClientLike, "connection" | "me" | "room"> = {
    connection: constant({ state: "disconnected" } as ReturnType<TidingsClientLike["connection"]["get"]>),
    me: constant(undefined),
    room: (id) => ({ id }) as Room,
  };
  const { result } = renderHook(() => ({ connection: useConnection(), me: useMe() }), {
    wrapper: ({ children }) => (
      <TidingsProvider client={fake as TidingsClientLike}>{children}</TidingsProvider>
    ),
  });
  expect(result.current).toEqual({ connection: { state: "disconnected" }, me: undefined });
});
