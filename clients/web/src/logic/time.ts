const DAY = 86_400_000;

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const shortWeekday = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const dayMonth = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long" });
const fullDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const shortDate = new Intl.DateTimeFormat(undefined, { day: "2-digit", month: "2-digit", year: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "medium" });

/** The start of the local day that holds a moment, in ms. */
export function dayOf(at: number): number {
  return new Date(at).setHours(0, 0, 0, 0);
}

/** Whole days between the days of two moments; right over changes of the clock too. */
export function daysBetween(earlier: number, later: number): number {
  return Math.round((dayOf(later) - dayOf(earlier)) / DAY);
}

/** "14:05". */
export const clockTime = (at: number): string => clock.format(at);

/** With date and seconds, for titles. */
export const exactTime = (at: number): string => exact.format(at);

/** What a day separator says: Today, Yesterday, a weekday of the last week, a date. */
export function dayLabel(at: number, now: number): string {
  const ago = daysBetween(at, now);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  if (ago > 1 && ago < 7) return weekday.format(at);
  return new Date(at).getFullYear() === new Date(now).getFullYear()
    ? dayMonth.format(at)
    : fullDay.format(at);
}

/** The short time of a room list: a clock time today, then Yesterday, a weekday, a date. */
export function listTime(at: number, now: number): string {
  const ago = daysBetween(at, now);
  if (ago <= 0) return clockTime(at);
  if (ago === 1) return "Yesterday";
  return ago < 7 ? shortWeekday.format(at) : shortDate.format(at);
}

/** "last seen 5 minutes ago", in words, from ms. */
export function lastSeen(at: number, now: number): string {
  const minutes = Math.floor((now - at) / 60_000);
  if (minutes < 1) return "last seen just now";
  if (minutes < 60) return `last seen ${minutes} ${minutes === 1 ? "minute" : "minutes"} ago`;
  const ago = daysBetween(at, now);
  if (ago === 0) return `last seen today at ${clockTime(at)}`;
  if (ago === 1) return `last seen yesterday at ${clockTime(at)}`;
  return `last seen on ${dayMonth.format(at)}`;
}
