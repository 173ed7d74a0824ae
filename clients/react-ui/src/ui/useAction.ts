import { useState } from "react";
import { errorText } from "../logic/connection.js";

/** The state of the user's action. */
export interface ActionState {
  /** Whether an action runs. */
  readonly busy: boolean;
  /** The text of a failure, until the next run. */
  readonly error: string | undefined;
  /** Shows a text as the failure. */
  readonly setError: (text: string | undefined) => void;
  /** Runs an action. Never rejects. */
  readonly run: (action: () => Promise<void> | void) => Promise<void>;
}

/** Runs actions of the user and keeps the state of the latest one. `onError` receives the text of a failure in place of `error`. */
export function useAction(onError?: (text: string) => void): ActionState {
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
