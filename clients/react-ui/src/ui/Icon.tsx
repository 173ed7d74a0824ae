import { memo } from "react";

/** The icon set: outlines on a 24 px grid, in the colour of the text. */
const ICON_PATHS = {
  back: "M15 5l-7 7 7 7",
  forward: "M9 5l7 7-7 7",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4",
  send: "M4.5 12h8M4.5 12 3 4.8c-.2-.9.7-1.6 1.5-1.2l16 7.5c.8.4.8 1.5 0 1.9l-16 7.4c-.8.4-1.7-.3-1.5-1.2L4.5 12z",
  smile:
    "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM8.5 14.2c.8 1.2 2 1.8 3.5 1.8s2.7-.6 3.5-1.8M9 9.5v.6M15 9.5v.6",
  reply: "M9.5 6 4 11.5 9.5 17M4.5 11.5H14c3.3 0 6 2.2 6 5.5v1",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  edit: "M4 20l.9-4L16 4.9a1.8 1.8 0 0 1 2.5 0l.6.6a1.8 1.8 0 0 1 0 2.5L8 19.1 4 20zM14 7l3 3",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5",
  copy: "M9 9h10.5v10.5H9zM5.5 15H4.5V4.5H15v1",
  link: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.6l-1 1M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.6l1-1",
  info: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5.5M12 7.7v.1",
  lock: "M6.5 11h11v8.5h-11zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  hash: "M5 9.5h15M4 14.5h15M10 4.5 8 19.5M16 4.5l-2 15",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20c.6-3.6 3.6-5.5 7.5-5.5s6.9 1.9 7.5 5.5",
  people:
    "M9 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.8 19.5c.5-3.3 3-5 6.2-5s5.7 1.7 6.2 5M15.5 4.8a3.5 3.5 0 0 1 0 6.4M17.5 14.9c2 .6 3.3 2.2 3.7 4.6",
  personAdd:
    "M10 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM2.8 20c.6-3.6 3.4-5.5 7.2-5.5 1.5 0 2.9.3 4 .9M18 14v6M15 17h6",
  compass: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM15.5 8.5l-2 5-5 2 2-5 5-2z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  arrowDown: "M12 5v14M6 13l6 6 6-6",
  arrowUp: "M12 19V5M6 11l6-6 6 6",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M5.6 18.4l1.1-1.1M17.3 6.7l1.1-1.1",
  moon: "M20 13.5A8 8 0 0 1 10.5 4a8 8 0 1 0 9.5 9.5z",
  screen: "M4 5h16v11H4zM9 20h6M12 16v4",
  exit: "M14 4.5H6v15h8M11 12h9.5M17 8.5l3.5 3.5-3.5 3.5",
  retry: "M19.5 12a7.5 7.5 0 1 1-2.3-5.4M19.5 3.5v4h-4",
  warning: "M12 4 2.8 19.5h18.4L12 4zM12 10v4.5M12 17v.1",
  offline:
    "M3.5 3.5l17 17M5 12.5a10 10 0 0 1 4.5-2.6M14.5 9.9c1.7.4 3.2 1.3 4.5 2.6M8.2 16a5.5 5.5 0 0 1 7.6 0M2 9a14.5 14.5 0 0 1 4.5-2.8M11 5c4.2-.2 8.1 1.2 11 4M12 19.5v.1",
  file: "M6.5 3.5H14l4.5 4.5v12.5h-12zM14 3.5V8h4.5",
  attach: "M19.5 11.5l-7.6 7.6a5 5 0 0 1-7-7l8-8a3.3 3.3 0 0 1 4.7 4.7l-7.9 7.9a1.7 1.7 0 0 1-2.4-2.4l7-7",
  download: "M12 4v11M7 10.5l5 5 5-5M5 19.5h14",
  bell: "M6 16.5V11a6 6 0 0 1 12 0v5.5l1.5 2h-15zM10 21h4",
  bellOff: "M3.5 3.5l17 17M6 11v5.5l-1.5 2H16M8.5 6.1A6 6 0 0 1 18 11v4M10 21h4",
  archive: "M4 5h16v4H4zM5.5 9v10.5h13V9M10 13h4",
  moonAway: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7.5V12l3 2",
  chat: "M5 4.5h14A1.5 1.5 0 0 1 20.5 6v9a1.5 1.5 0 0 1-1.5 1.5h-6L8 20.5v-4H5A1.5 1.5 0 0 1 3.5 15V6A1.5 1.5 0 0 1 5 4.5z",
} as const;

/** The name of an icon of the set. */
export type IconName = keyof typeof ICON_PATHS;

/** A decorative icon; the label of its button gives the meaning. `size` is in px. */
export const Icon = memo(function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return <Outline size={size} grid={24} stroke={name === "more" ? 2.8 : 1.7} path={ICON_PATHS[name]} />;
});

/** The tick beside the user's own message. */
export const TickIcon = memo(function TickIcon({
  tick,
}: {
  tick: "sending" | "sent" | "delivered" | "read";
}) {
  const path =
    tick === "sending"
      ? "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 4.8V8l2.2 1.3"
      : tick === "sent"
        ? "M4 8.5l3 3 6-7"
        : "M1.5 8.5l3 3 6-7M7.3 11l.5.5 6-7";
  return <Outline size={16} grid={16} stroke={1.5} path={path} />;
});

/** A path on a grid of `grid` px, drawn as an outline. */
function Outline(props: { size: number; grid: number; stroke: number; path: string }) {
  const { size, grid, stroke, path } = props;
  return (
    <svg
      className="tidings-icon"
      width={size}
      height={size}
      viewBox={`0 0 ${grid} ${grid}`}
      fill="none"
      stroke="currentColor"
      strokeWidth={stroke}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={path} />
    </svg>
  );
}
