import { TidingsError, type TokenRequest } from "@tidings/client";

/** The part of `expo-secure-store` that `secureToken` uses. Any store of the keychain with these functions fits. */
export interface SecureStoreLike {
  getItemAsync(key: string): Promise<string | null>;
  setItemAsync(key: string, value: string): Promise<unknown>;
  deleteItemAsync(key: string): Promise<unknown>;
}

/** A token that a secure store keeps. The functions need no `this`. */
export interface StoredToken {
  /** The option `token` of the client. */
  readonly token: (request: TokenRequest) => Promise<string>;
  /** Deletes the stored token. Call it at sign-out. Rejects when the store cannot delete the token. */
  readonly forget: () => Promise<void>;
}

/**
 * Keeps the last token in a secure store, so that an app that starts again connects without a request for a token. The
 * stored token is used once in each run of the app. It is deleted when the server has refused it, and when `fetchToken`
 * throws an `UnauthorizedError`. When the store fails, the app works without it.
 *
 * @param fetchToken returns a new token; `refused` says why the server refused the last one
 * @param key the key in the store, by default `tidings.token`: letters, digits, `.`, `-` and `_`
 * @throws TidingsError `bad_request` for another key
 */
export function secureToken(
  store: SecureStoreLike,
  fetchToken: (request: TokenRequest) => string | Promise<string>,
  key = "tidings.token",
): StoredToken {
  // The store rejects each use of another key, and such rejections only look like an empty store.
  if (!/^[\w.-]+$/.test(key)) {
    const message = `The key of secureToken may contain only letters, digits, ".", "-" and "_", not ${JSON.stringify(key)}`;
    throw new TidingsError("bad_request", message, { field: "key" });
  }
  /** Whether the stored token may be used. The kit's later requests are for a new token, so only the first may use it. */
  let mayUseStored = true;
  /** Counts the calls of `forget`, because a token that was requested before such a call must not be stored after it. */
  let generation = 0;
  /** The last operation on the store. Operations run one after the other, so that a deletion is not overtaken. */
  let last: Promise<unknown> = Promise.resolve();
  const run = <T>(operation: () => Promise<T>): Promise<T> => {
    const result = last.then(operation);
    last = result.catch(() => {});
    return result;
  };
  const remove = () => run(() => store.deleteItemAsync(key));

  return {
    async token(request) {
      const asked = generation;
      const useStored = mayUseStored && request.refused === undefined;
      mayUseStored = false;
      if (useStored) {
        // A locked keychain, or one restored on another device, is read as empty.
        const stored = await run(() => store.getItemAsync(key)).catch(() => null);
        if (stored && asked === generation) return stored;
      } else if (request.refused !== undefined) {
        remove().catch(() => {});
      }
      try {
        const token = await fetchToken(request);
        // Not awaited: the token is valid even when the store refuses it, for example because of its length.
        run(async () => asked === generation && (await store.setItemAsync(key, token))).catch(() => {});
        return token;
      } catch (thrown) {
        const signedOut = thrown instanceof TidingsError && thrown.code === "unauthorized";
        if (signedOut && asked === generation) remove().catch(() => {});
        throw thrown;
      }
    },
    async forget() {
      generation++;
      mayUseStored = false;
      await remove();
    },
  };
}
