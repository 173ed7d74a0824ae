import { dayLabel } from "../logic/time.ts";
import { useNow } from "../state/useNow.ts";

/** The separator between two days. */
export function DayRow({ rowKey, at }: { rowKey: string; at: number }) {
  const now = useNow(60_000);
  return (
    <div className="row-day" data-key={rowKey}>
      <span>{dayLabel(at, now)}</span>
    </div>
  );
}

/** The divider above the unread messages. */
export function UnreadRow() {
  return (
    <div className="row-unread line" data-key="unread">
      <span>New messages</span>
    </div>
  );
}

/** The row above the oldest loaded message: a spinner, or a button to try again. */
export function OlderRow({ failed, onRetry }: { failed: boolean; onRetry: () => void }) {
  return (
    <div className="row-older" data-key="older">
      {failed ? (
        <button type="button" className="link-button" onClick={onRetry}>
          Earlier messages could not be loaded. Try again
        </button>
      ) : (
        <span className="spinner" role="img" aria-label="Loading earlier messages" />
      )}
    </div>
  );
}

interface StartRowProps {
  readonly title: string;
  readonly direct: boolean;
  /** Whether the messages are not loaded yet. */
  readonly waiting: boolean;
}

/** The first row of a room. */
export function StartRow({ title, direct, waiting }: StartRowProps) {
  return (
    <div className="row-start" data-key="start">
      <p>
        {waiting ? (
          "Earlier messages will appear when you are connected."
        ) : direct ? (
          <>
            This is the beginning of your conversation with <strong>{title}</strong>.
          </>
        ) : (
          <>
            This is the beginning of <strong>{title}</strong>.
          </>
        )}
      </p>
    </div>
  );
}

/** A placeholder while the messages are loading. */
export function MessageSkeleton() {
  const widths = ["60%", "90%", "40%", "70%", "50%", "80%", "30%"];
  return (
    <div className="message-skeleton column" role="status" aria-label="Loading messages">
      {widths.map((width, index) => (
        <div
          key={width}
          className="skeleton skeleton-bubble"
          style={{ width }}
          data-mine={index % 3 === 1 || undefined}
        />
      ))}
    </div>
  );
}
