import type { Connection, TidingsError } from "@tidings/client";

/** What the page says about its connection. */
export interface ConnectionWords {
  /** `good` needs no banner. */
  readonly tone: "good" | "busy" | "warning" | "stopped";
  readonly text: string;
  /** A button that helps. */
  readonly action?: "try" | "connect" | "sign-in";
}

/** The connection in words; `now` in ms, for the seconds that are left. */
export function connectionWords(connection: Connection, now: number): ConnectionWords {
  const { state, transport, error } = connection;
  if (state === "connected") {
    if (connection.offline)
      return { tone: "warning", text: "You are offline. Messages are sent once you are back." };
    return { tone: "good", text: transport === "poll" ? "Connected by polling" : "Connected" };
  }
  if (state === "disconnected") return stopped(error);
  if (connection.offline) {
    return { tone: "warning", text: "You are offline. Messages are sent once you are back.", action: "try" };
  }
  if (state === "connecting") return { tone: "busy", text: "Connecting…" };
  const seconds = connection.retryAt === undefined ? 0 : Math.ceil((connection.retryAt - now) / 1000);
  if (seconds <= 0)
    return { tone: "busy", text: connection.draining ? "Moving to another server…" : "Reconnecting…" };
  return { tone: "warning", text: `Connection lost. Reconnecting in ${seconds} s`, action: "try" };
}

function stopped(error: TidingsError | undefined): ConnectionWords {
  if (error === undefined) return { tone: "stopped", text: "Not connected.", action: "connect" };
  if (error.closeCode === 4403 || error.code === "forbidden") {
    return { tone: "stopped", text: "Disconnected: this account is blocked or gone.", action: "sign-in" };
  }
  if (error.closeCode === 4409) {
    return {
      tone: "stopped",
      text: "Disconnected: too many windows are open. Close some.",
      action: "connect",
    };
  }
  if (error.code === "unauthorized") {
    return {
      tone: "stopped",
      text: "Disconnected: your sign-in is not accepted any more.",
      action: "sign-in",
    };
  }
  return { tone: "stopped", text: `Disconnected: ${errorWords(error)}`, action: "connect" };
}

/** Whether nothing is to be expected from the server for now: worth other words than "loading". */
export function isDown(connection: Connection): boolean {
  return connection.state !== "connected" && (connection.state !== "connecting" || connection.attempt > 1);
}

/** An error for people. */
export function errorWords(error: unknown): string {
  const code = (error as Partial<TidingsError> | undefined)?.code;
  switch (code) {
    case "forbidden":
      return "You are not allowed to do that here.";
    case "not_found":
      return "That does not exist, or is not yours to see.";
    case "conflict":
      return "That is not possible any more: something changed in the meantime.";
    case "too_large":
      return "That is too long or too much.";
    case "rate_limited":
      return "That was a bit fast. Please wait a moment.";
    case "outbox_full":
      return "Too many messages wait to be sent. Please wait until you are connected.";
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

/** Why a message was not sent, for people. */
export function sendErrorWords(error: TidingsError | undefined): string {
  if (error === undefined) return "Not sent.";
  return `Not sent. ${error.code === "conflict" ? "The room was archived." : errorWords(error)}`;
}

/** What the network says of people: online, away, last seen. */
export const STATUS_WORDS = { online: "Online", away: "Away", offline: "Offline" } as const;
