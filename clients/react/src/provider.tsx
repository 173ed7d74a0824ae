import { type ClientOptions, TidingsClient } from "@tidings/client";
import { type ReactNode, type RefObject, useEffect, useRef, useState } from "react";
import { TidingsContext } from "./context.js";

/**
 * Either `client` or `options`.
 *
 * - `client`: made, connected and closed by the application; the provider only hands it down.
 * - `options`: the provider makes the client, connects it once mounted, and closes it when it goes. They are read
 *   once, but for `token` and `onError`, of which the latest are called. For another user give another `key`.
 */
export type TidingsProviderProps = { readonly children?: ReactNode } & (
  | { readonly client: TidingsClient; readonly options?: never }
  | { readonly options: ClientOptions; readonly client?: never }
);

/** Gives all hooks below it their client. Safe in StrictMode and when rendered on a server, where nothing connects. */
export function TidingsProvider(props: TidingsProviderProps): ReactNode {
  if (props.client !== undefined) {
    return <TidingsContext.Provider value={props.client}>{props.children}</TidingsContext.Provider>;
  }
  return <OwnClient options={props.options}>{props.children}</OwnClient>;
}

function make(latest: RefObject<ClientOptions>): TidingsClient {
  return new TidingsClient({
    ...latest.current,
    token: () => latest.current.token(),
    onError: (error) => latest.current.onError?.(error),
  });
}

function OwnClient({ options, children }: { options: ClientOptions; children: ReactNode }): ReactNode {
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const [client] = useState(() => make(latest));
  const closing = useRef<ReturnType<typeof setTimeout>>(undefined);

  useEffect(() => {
    // Effects come back after a close where React hid the tree and shows it again: the same client goes on.
    clearTimeout(closing.current);
    // What stops it for good is in `connection` and in `onError`: nobody awaits this promise.
    client.connect().catch(() => {});
    return () => {
      // Put off by a turn: StrictMode and hot reloading take effects away and give them back at once.
      closing.current = setTimeout(() => client.close(), 0);
    };
  }, [client]);

  return <TidingsContext.Provider value={client}>{children}</TidingsContext.Provider>;
}
