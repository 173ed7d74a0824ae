import { plural } from "./names.js";

const DAY_MS = 86_400_000;

const FORMATS = {
  time: { hour: "numeric", minute: "2-digit" },
  weekday: { weekday: "long" },
  shortWeekday: { weekday: "short" },
  dayMonth: { day: "numeric", month: "long" },
  fullDate: { day: "numeric", month: "long", year: "numeric" },
  shortDate: { day: "2-digit", month: "2-digit", year: "2-digit" },
  exact: { dateStyle: "long", timeStyle: "medium" },
} as const satisfies Record<string, Intl.DateTimeFormatOptions>;

/** The formatters that were used, which belong to `zone`. */
const formatters = new Map<keyof typeof FORMATS, Intl.DateTimeFormat>();
let zone = "";
let offset: number | undefined;

/**
 * Returns the time zone, the locale and the hour cycle of the device. A formatter keeps those with which it was made, so
 * this drops the formatters after a change.
 */
export function deviceZone(): string {
  const { timeZone, locale, hourCycle } = new Intl.DateTimeFormat(undefined, FORMATS.time).resolvedOptions();
  const now = `${timeZone} ${locale} ${hourCycle}`;
  if (now !== zone) formatters.clear();
  zone = now;
  return zone;
}

function format(name: keyof typeof FORMATS, at: number): string {
  // Compares the offset because a new formatter for each time would be slow.
  const nowOffset = new Date().getTimezoneOffset();
  if (nowOffset !== offset) deviceZone();
  offset = nowOffset;
  const formatter = formatters.get(name) ?? new Intl.DateTimeFormat(undefined, FORMATS[name]);
  formatters.set(name, formatter);
  return formatter.format(at);
}

/** Returns the start of the local day that contains the moment `at`. The times are in ms since 1970. */
export function dayStart(at: number): number {
  return new Date(at).setHours(0, 0, 0, 0);
}

/** The number of calendar days between two moments, also across a change of daylight saving time. */
export function daysBetween(earlier: number, later: number): number {
  return Math.round((dayStart(later) - dayStart(earlier)) / DAY_MS);
}

/** The time of day, such as "14:05". */
export const timeOfDay = (at: number): string => format("time", at);

/** The date and the time with seconds, for tooltips. */
export const exactTime = (at: number): string => format("exact", at);

/** Formats a future time: the time of day, with the weekday or the date unless it is today. */
export function laterTime(at: number, now: number): string {
  const days = daysBetween(now, at);
  if (days <= 0) return timeOfDay(at);
  return `${format(days < 7 ? "shortWeekday" : "dayMonth", at)}, ${timeOfDay(at)}`;
}

/** Makes the label of a day separator: Today, Yesterday, a weekday of the last week, or a date. */
export function dayLabel(at: number, now: number): string {
  const daysAgo = daysBetween(at, now);
  if (daysAgo === 0) return "Today";
  if (daysAgo === 1) return "Yesterday";
  if (daysAgo > 1 && daysAgo < 7) return format("weekday", at);
  return format(new Date(at).getFullYear() === new Date(now).getFullYear() ? "dayMonth" : "fullDate", at);
}

/** Makes the short time in a list: the time of day for today, then Yesterday, a weekday, or a date. */
export function listTime(at: number, now: number): string {
  const daysAgo = daysBetween(at, now);
  if (daysAgo <= 0) return timeOfDay(at);
  if (daysAgo === 1) return "Yesterday";
  return format(daysAgo < 7 ? "shortWeekday" : "shortDate", at);
}

/** A span of time as a countdown shows it, such as "12 s" or "1:05". */
export function countdown(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** Makes a text such as "last seen 5 minutes ago". The two times are in ms since 1970. */
export function lastSeen(at: number, now: number): string {
  const minutes = Math.floor((now - at) / 60_000);
  if (minutes < 1) return "last seen just now";
  if (minutes < 60) return `last seen ${plural(minutes, "minute")} ago`;
  const daysAgo = daysBetween(at, now);
  if (daysAgo === 0) return `last seen today at ${timeOfDay(at)}`;
  if (daysAgo === 1) return `last seen yesterday at ${timeOfDay(at)}`;
  return `last seen on ${format("dayMonth", at)}`;
}
