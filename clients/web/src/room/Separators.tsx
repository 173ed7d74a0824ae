import { dayLabel } from "../logic/time.ts";
import { useNow } from "../state/useNow.ts";

/** The line between two days. */
export function DayRow({ rowKey, at }: { rowKey: string; at: number }) {
  const now = useNow(60_000);
  return (
    <div className="row-day" data-key={rowKey}>
      <span>{dayLabel(at, now)}</span>
    </div>
  );
}

/** The line above what is new. */
export function UnreadRow() {
  return (
    <div className="row-unread" data-key="unread">
      <span>New messages</span>
    </div>
  );
}

/** The place of what is older: a sign that it comes, or how to ask again. */
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
  /** Whether it was not yet possible to ask what there is. */
  readonly waiting: boolean;
}

/** The beginning of a room. */
export function StartRow({ title, direct, waiting }: StartRowProps) {
  return (
    <div className="row-start" data-key="start">
      <p>
        {waiting ? (
          "Earlier messages come as soon as there is a connection."
        ) : direct ? (
          <>
            This is where your conversation with <strong>{title}</strong> begins.
          </>
        ) : (
          <>
            This is where <strong>{title}</strong> begins.
          </>
        )}
      </p>
    </div>
  );
}

/** Where messages will stand, while they are on their way. */
export function MessageSkeleton() {
  const widths = ["w6", "w9", "w4", "w7", "w5", "w8", "w3"];
  return (
    <div className="message-skeleton" role="status" aria-label="Loading messages">
      {widths.map((width, index) => (
        <div
          key={width}
          className={`skeleton skeleton-bubble ${width}`}
          data-mine={index % 3 === 1 || undefined}
        />
      ))}
    </div>
  );
}
