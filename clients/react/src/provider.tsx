import { type ClientOptions, TidingsClient, type TidingsClientLike } from "@tidings/client";
import { type ReactNode, type RefObject, useEffect, useRef, useState } from "react";
import { TidingsContext } from "./context.js";

/**
 * The properties of the provider: either `client` or `options`.
 *
 * - `client`: the application creates, connects and closes the client; the provider only passes it down.
 * - `options`: the provider creates the client, connects it when it mounts, and closes it when it unmounts. It reads
 *   the options once, except `token` and `onError`, where it calls the latest ones. For another user, give it another
 *   `key`.
 */
export type TidingsProviderProps = { readonly children?: ReactNode } & (
  | { readonly client: TidingsClientLike; readonly options?: never }
  | { readonly options: ClientOptions; readonly client?: never }
);

/** Provides the client to all hooks inside this component. Works in StrictMode, and does not connect on a server. */
export function TidingsProvider(props: TidingsProviderProps): ReactNode {
  if (props.client !== undefined) {
    return <TidingsContext.Provider value={props.client}>{props.children}</TidingsContext.Provider>;
  }
  return <OwnClient options={props.options}>{props.children}</OwnClient>;
}

function createClient(latestOptions: RefObject<ClientOptions>): TidingsClient {
  return new TidingsClient({
    ...latestOptions.current,
    token: (request) => latestOptions.current.token(request),
    onError: (error) => latestOptions.current.onError?.(error),
  });
}

function OwnClient({ options, children }: { options: ClientOptions; children: ReactNode }): ReactNode {
  const latestOptions = useRef(options);
  useEffect(() => {
    latestOptions.current = options;
  });
  const [client] = useState(() => createClient(latestOptions));
  const closeTimer = useRef<ReturnType<typeof setTimeout>>(undefined);

  useEffect(() => {
    // React runs this effect again when it shows a hidden tree again. The same client then reconnects.
    clearTimeout(closeTimer.current);
    // The rejection is ignored, because `connection` and `onError` report every error that stops the client.
    client.connect().catch(() => {});
    return () => {
      // The client closes in a later task, because StrictMode and hot reloading stop an effect and restart it at once.
      closeTimer.current = setTimeout(() => client.close(), 0);
    };
  }, [client]);

  return <TidingsContext.Provider value={client}>{children}</TidingsContext.Provider>;
}
