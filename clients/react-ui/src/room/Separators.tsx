import { dayLabel, listTime } from "../logic/time.js";
import { useNow } from "../state/useNow.js";
import { IconButton } from "../ui/Button.js";
import { Icon } from "../ui/Icon.js";

/** The separator between two days. */
export function DayRow({ rowKey, at }: { rowKey: string; at: number }) {
  const now = useNow(60_000);
  return (
    <div className="tidings-row-day" data-key={rowKey}>
      <span>{dayLabel(at, now)}</span>
    </div>
  );
}

/** The divider above the unread messages. */
export function UnreadRow() {
  return (
    <div className="tidings-row-unread tidings-line" data-key="unread">
      <span>New messages</span>
    </div>
  );
}

interface EdgeRowProps {
  /** Which messages the row stands for: `older` ones above the list, or `newer` ones below it. */
  readonly edge: "older" | "newer";
  readonly failed: boolean;
  readonly onRetry: () => void;
}

const EDGE_LABELS = { older: "Earlier messages", newer: "Newer messages" };

/** The row for messages that are not loaded: a spinner, or a button to try again. */
export function EdgeRow({ edge, failed, onRetry }: EdgeRowProps) {
  const label = EDGE_LABELS[edge];
  return (
    <div className="tidings-row-older" data-key={edge}>
      {failed ? (
        <button type="button" className="tidings-link-button" onClick={onRetry}>
          {label} could not be loaded. Try again
        </button>
      ) : (
        <span className="tidings-spinner" role="img" aria-label={`Loading ${label.toLowerCase()}`} />
      )}
    </div>
  );
}

interface UnreadPillProps {
  /** The number of unread messages, such as "99+". */
  readonly count: string;
  /** The time of the first unread message, if it is known. */
  readonly since: number | undefined;
  readonly onJump: () => void;
  readonly onMarkRead: () => void;
}

/** Tells the user that there are unread messages above the loaded ones. */
export function UnreadPill({ count, since, onJump, onMarkRead }: UnreadPillProps) {
  return (
    <div className="tidings-unread-pill tidings-line">
      <button type="button" className="tidings-unread-pill-jump" onClick={onJump}>
        <Icon name="arrowUp" size={16} /> {count} new
        {since !== undefined && ` since ${listTime(since, Date.now())}`}
      </button>
      <IconButton
        icon="close"
        label="Mark all as read"
        size={16}
        className="tidings-small"
        onClick={onMarkRead}
      />
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
    <div className="tidings-row-start" data-key="start">
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
    <div className="tidings-message-skeleton tidings-column" role="status" aria-label="Loading messages">
      {widths.map((width, index) => (
        <div
          key={width}
          className="tidings-skeleton tidings-skeleton-bubble"
          style={{ width }}
          data-mine={index % 3 === 1 || undefined}
        />
      ))}
    </div>
  );
}
