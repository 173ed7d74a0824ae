import type { Connection, TidingsError } from "@tidings/client";

const OFFLINE_TEXT = "You are offline. Your messages will be sent when you are back online.";

/** The text and the button with which the page reports a state of the connection. */
interface ConnectionStatus {
  /** The banner is hidden for `good`. */
  readonly tone: "good" | "busy" | "warning" | "stopped";
  readonly text: string;
  /** The button that can solve the problem, if any. */
  readonly action?: "try" | "connect" | "sign-in";
}

/** Describes the connection for the user. `now`, in ms since 1970, is for the countdown to the next attempt. */
export function connectionStatus(connection: Connection, now: number): ConnectionStatus {
  const { state, transport, error } = connection;
  if (state === "connected") {
    if (connection.offline) return { tone: "warning", text: OFFLINE_TEXT };
    return { tone: "good", text: transport === "poll" ? "Connected (limited network)" : "Connected" };
  }
  if (state === "disconnected") return disconnectText(error);
  if (connection.offline) return { tone: "warning", text: OFFLINE_TEXT, action: "try" };
  if (state === "connecting") return { tone: "busy", text: "Connecting…" };
  const seconds = connection.retryAt === undefined ? 0 : Math.ceil((connection.retryAt - now) / 1000);
  if (seconds <= 0)
    return { tone: "busy", text: connection.draining ? "Moving to another server…" : "Reconnecting…" };
  return { tone: "warning", text: `Connection lost. Reconnecting in ${seconds} s`, action: "try" };
}

function disconnectText(error: TidingsError | undefined): ConnectionStatus {
  const stoppedStatus = (text: string, action: "connect" | "sign-in" = "connect") =>
    ({ tone: "stopped", text, action }) as const;
  if (error === undefined) return stoppedStatus("Not connected.");
  if (error.closeCode === 4403 || error.code === "forbidden")
    return stoppedStatus("Disconnected: this account is blocked or deleted.", "sign-in");
  if (error.closeCode === 4409)
    return stoppedStatus("Disconnected: too many windows are open. Please close some.");
  if (error.code === "unauthorized")
    return stoppedStatus("Disconnected: your sign-in is no longer valid.", "sign-in");
  return stoppedStatus(`Disconnected: ${errorText(error)}`);
}

/** Whether the connection is down, so that the page shows a notice instead of "loading". */
export function isDown(connection: Connection): boolean {
  return connection.state !== "connected" && (connection.state !== "connecting" || connection.attempt > 1);
}

/** Describes an error for the user. */
export function errorText(error: unknown): string {
  const code = (error as Partial<TidingsError> | undefined)?.code;
  switch (code) {
    case "forbidden":
      return "You are not allowed to do that here.";
    case "not_found":
      return "This does not exist, or you cannot see it.";
    case "conflict":
      return "This is no longer possible, because something has changed.";
    case "too_large":
      return "This is too large.";
    case "rate_limited":
      return "You are doing this too often. Please wait a moment.";
    case "outbox_full":
      return "Too many messages are waiting to be sent. Please wait until you are connected again.";
    case "timeout":
    case "network":
    case "disconnected":
    case "unavailable":
    case "overloaded":
      return "The server could not be reached. Please try again.";
    default:
      return error instanceof Error && error.message ? error.message : "Something went wrong.";
  }
}

/** Explains to the user why a message was not sent. */
export function sendErrorText(error: TidingsError | undefined): string {
  if (error === undefined) return "Not sent.";
  if (error.reason === "file_lost") return "Not sent. A file is no longer on this device. Attach it again.";
  return `Not sent. ${error.code === "conflict" ? "The room was archived." : errorText(error)}`;
}

/** The labels of the presence states. */
export const STATUS_LABELS = { online: "Online", away: "Away", offline: "Offline" } as const;
