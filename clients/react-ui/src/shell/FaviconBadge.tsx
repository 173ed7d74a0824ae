import { useRooms } from "@tidings/react";
import { useEffect } from "react";
import { badgeText, totalUnread } from "../logic/title.js";
import { useMutedRooms } from "../state/useMutedRooms.js";

/** The size of the drawn icon in px. */
const SIZE = 64;

/**
 * Draws the number of unread messages on the icon of the page, which the page names with `<link rel="icon">`. Rooms
 * without notifications do not count.
 */
export function FaviconBadge(): null {
  const { count, capped } = totalUnread(useRooms().items, useMutedRooms());
  const text = count === 0 ? "" : count > 9 ? "9+" : badgeText(count, capped);
  useEffect(() => {
    const link = document.querySelector<HTMLLinkElement>('link[rel~="icon"]');
    if (link === null || text === "") return;
    const { href, type } = link;
    let isCurrent = true;
    const image = new Image();
    image.onload = () => {
      const drawn = isCurrent ? drawBadge(image, text) : undefined;
      if (drawn === undefined) return;
      link.type = "image/png";
      link.href = drawn;
    };
    image.src = href;
    return () => {
      isCurrent = false;
      link.type = type;
      link.href = href;
    };
  }, [text]);
  return null;
}

/** Returns the icon with a number as a data address; undefined if the browser cannot draw, or the icon is of another site. */
function drawBadge(icon: HTMLImageElement, text: string): string | undefined {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE;
  const pen = canvas.getContext("2d");
  if (pen === null) return undefined;
  try {
    pen.drawImage(icon, 0, 0, SIZE, SIZE);
    const radius = SIZE * 0.3;
    pen.fillStyle = "#b3261e";
    pen.beginPath();
    pen.arc(SIZE - radius, SIZE - radius, radius, 0, 2 * Math.PI);
    pen.fill();
    pen.fillStyle = "#ffffff";
    pen.font = `bold ${SIZE * 0.4}px sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(text, SIZE - radius, SIZE - radius + 2, 2 * radius - 4);
    return canvas.toDataURL("image/png");
  } catch {
    return undefined;
  }
}
