import { useState } from "react";
import { errorText } from "../logic/connection.ts";

/**
 * Runs actions of the user. `busy` is true while an action runs. `error` holds the text of a failure until the next
 * run, unless `onError` receives the text.
 */
export function useAction(onError?: (text: string) => void) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const run = async (action: () => Promise<void> | void): Promise<void> => {
    setBusy(true);
    setError(undefined);
    try {
      await action();
    } catch (failure) {
      (onError ?? setError)(errorText(failure));
    } finally {
      setBusy(false);
    }
  };
  return { busy, error, setError, run };
}
