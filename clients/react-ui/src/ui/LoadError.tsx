import { errorText } from "../logic/connection.js";
import { Button } from "./Button.js";

interface LoadErrorProps {
  /** A sentence that says what could not be loaded. */
  readonly text: string;
  readonly error: unknown;
  readonly onRetry: () => Promise<void>;
}

/** A notice that a list could not be loaded, with a button to try again. */
export function LoadError({ text, error, onRetry }: LoadErrorProps) {
  return (
    <div className="tidings-side-notice tidings-column" role="alert">
      <p>
        {text} {errorText(error)}
      </p>
      <Button icon="retry" onClick={() => void onRetry()}>
        Try again
      </Button>
    </div>
  );
}
