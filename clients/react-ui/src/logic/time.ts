import { plural } from "./names.js";

const DAY_MS = 86_400_000;

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const weekdayFormat = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const shortWeekdayFormat = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const dayMonthFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long" });
const fullDateFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const shortDateFormat = new Intl.DateTimeFormat(undefined, {
  day: "2-digit",
  month: "2-digit",
  year: "2-digit",
});
const exactFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "medium" });

/** Returns the start of the local day that contains the moment `at`. The times are in ms since 1970. */
export function dayStart(at: number): number {
  return new Date(at).setHours(0, 0, 0, 0);
}

/** The number of calendar days between two moments, also across a change of daylight saving time. */
export function daysBetween(earlier: number, later: number): number {
  return Math.round((dayStart(later) - dayStart(earlier)) / DAY_MS);
}

/** The time of day, such as "14:05". */
export const timeOfDay = (at: number): string => timeFormat.format(at);

/** The date and the time with seconds, for tooltips. */
export const exactTime = (at: number): string => exactFormat.format(at);

/** Formats a future time: the time of day, with the weekday or the date unless it is today. */
export function laterTime(at: number, now: number): string {
  const days = daysBetween(now, at);
  if (days <= 0) return timeOfDay(at);
  return `${(days < 7 ? shortWeekdayFormat : dayMonthFormat).format(at)}, ${timeOfDay(at)}`;
}

/** Makes the label of a day separator: Today, Yesterday, a weekday of the last week, or a date. */
export function dayLabel(at: number, now: number): string {
  const daysAgo = daysBetween(at, now);
  if (daysAgo === 0) return "Today";
  if (daysAgo === 1) return "Yesterday";
  if (daysAgo > 1 && daysAgo < 7) return weekdayFormat.format(at);
  return new Date(at).getFullYear() === new Date(now).getFullYear()
    ? dayMonthFormat.format(at)
    : fullDateFormat.format(at);
}

/** Makes the short time in a list: the time of day for today, then Yesterday, a weekday, or a date. */
export function listTime(at: number, now: number): string {
  const daysAgo = daysBetween(at, now);
  if (daysAgo <= 0) return timeOfDay(at);
  if (daysAgo === 1) return "Yesterday";
  return daysAgo < 7 ? shortWeekdayFormat.format(at) : shortDateFormat.format(at);
}

/** Makes a text such as "last seen 5 minutes ago". The two times are in ms since 1970. */
export function lastSeen(at: number, now: number): string {
  const minutes = Math.floor((now - at) / 60_000);
  if (minutes < 1) return "last seen just now";
  if (minutes < 60) return `last seen ${plural(minutes, "minute")} ago`;
  const daysAgo = daysBetween(at, now);
  if (daysAgo === 0) return `last seen today at ${timeOfDay(at)}`;
  if (daysAgo === 1) return `last seen yesterday at ${timeOfDay(at)}`;
  return `last seen on ${dayMonthFormat.format(at)}`;
}
