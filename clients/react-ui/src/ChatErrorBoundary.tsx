import { Component, type ErrorInfo, type ReactNode } from "react";
import { Button } from "./ui/Button.js";
import { Icon } from "./ui/Icon.js";

/** An error of a component, and how to show the component again. */
export interface ChatFailure {
  readonly error: unknown;
  /** Renders the children again, with a new state. */
  readonly retry: () => void;
}

/** The properties of the boundary. */
export interface ChatErrorBoundaryProps {
  readonly children?: ReactNode;
  /** What is shown in place of children that have thrown; by default {@link ErrorNotice}. */
  readonly fallback?: ((failure: ChatFailure) => ReactNode) | undefined;
  /** Receives each error, for a report. React writes it to the console in any case. */
  readonly onError?: ((error: unknown, info: ErrorInfo) => void) | undefined;
}

interface BoundaryState {
  readonly failed: boolean;
  readonly error: unknown;
}

const NO_FAILURE: BoundaryState = { failed: false, error: undefined };

/** Shows a notice in place of children that throw while they render, so that the rest of the page stays usable. */
export function ChatErrorBoundary(props: ChatErrorBoundaryProps): ReactNode {
  return <Boundary {...props} />;
}

/** React offers error boundaries only as classes. */
class Boundary extends Component<ChatErrorBoundaryProps, BoundaryState> {
  override state: BoundaryState = NO_FAILURE;

  static getDerivedStateFromError(error: unknown): BoundaryState {
    return { failed: true, error };
  }

  override componentDidCatch(error: unknown, info: ErrorInfo): void {
    this.props.onError?.(error, info);
  }

  override render(): ReactNode {
    const { failed, error } = this.state;
    if (!failed) return this.props.children;
    const failure: ChatFailure = { error, retry: () => this.setState(NO_FAILURE) };
    return this.props.fallback ? this.props.fallback(failure) : <ErrorNotice {...failure} />;
  }
}

/** A notice that a part of the page has failed, with a button to show it again. */
export function ErrorNotice({ retry }: ChatFailure): ReactNode {
  return (
    <div className="tidings-pane-notice tidings-centred tidings-column" role="alert">
      <Icon name="warning" size={28} />
      <p>Something went wrong here.</p>
      <Button icon="retry" onClick={retry}>
        Try again
      </Button>
    </div>
  );
}
