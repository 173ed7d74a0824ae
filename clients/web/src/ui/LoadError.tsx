import { errorText } from "../logic/connection.ts";
import { Button } from "./Button.tsx";

interface LoadErrorProps {
  /** A sentence that says what could not be loaded. */
  readonly text: string;
  readonly error: unknown;
  readonly onRetry: () => Promise<void>;
}

/** A notice that a list could not be loaded, with a button to try again. */
export function LoadError({ text, error, onRetry }: LoadErrorProps) {
  return (
    <div className="side-notice column" role="alert">
      <p>
        {text} {errorText(error)}
      </p>
      <Button icon="retry" onClick={() => void onRetry()}>
        Try again
      </Button>
    </div>
  );
}
