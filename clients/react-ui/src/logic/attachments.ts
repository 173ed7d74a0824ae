import type { Attachment } from "@tidings/client";
import { withoutBidi } from "./plainText.js";

/** The most attachments of a message. */
export const MAX_ATTACHMENTS = 10;

/** How an attachment is shown. Everything else is a link with its name. */
export type AttachmentKind = "picture" | "video" | "audio" | "file";

/** The media types that all browsers show. SVG is not among them, because it can contain scripts. */
const PICTURE_TYPES = /^image\/(png|jpeg|gif|webp|avif)$/i;

/**
 * How a file is shown. A file at another server (`url`) is always a link, so that this server does not learn who reads
 * the message before the reader wants the file.
 */
export function attachmentKind({ mediaType, url }: Attachment): AttachmentKind {
  if (url !== undefined) return "file";
  if (PICTURE_TYPES.test(mediaType)) return "picture";
  if (/^video\//i.test(mediaType)) return "video";
  return /^audio\//i.test(mediaType) ? "audio" : "file";
}

/** The pictures of a message, in order. */
export const picturesOf = (attachments: readonly Attachment[]): Attachment[] =>
  attachments.filter((one) => one.file !== undefined && attachmentKind(one) === "picture");

/** The name of a file, as it is shown. It cannot hide its extension by a change of direction. */
export const fileName = ({ name }: { readonly name: string }): string => withoutBidi(name);

/** Identifies an attachment within its message. */
export const attachmentKey = ({ url, file, upload }: Attachment): string => file ?? upload ?? url ?? "";

/** The largest box of a picture or a video, and the smallest side, in px. */
const MAX_WIDTH = 320;
const MAX_HEIGHT = 320;
const MIN_SIDE = 48;
/** The box of a picture whose size is unknown. */
const UNKNOWN_BOX = { width: 240, height: 180 };

/** The box of a picture or a video in px, known before it is loaded, so that the list does not move. */
export function boxOf({ width, height }: Attachment): { readonly width: number; readonly height: number } {
  if (!(Number(width) > 0 && Number(height) > 0)) return UNKNOWN_BOX;
  const [w, h] = [Number(width), Number(height)];
  const scale = Math.min(1, MAX_WIDTH / w, MAX_HEIGHT / h);
  const side = (value: number) => Math.max(MIN_SIDE, Math.round(value * scale));
  return { width: side(w), height: side(h) };
}

const UNITS = ["B", "KB", "MB", "GB", "TB"];

/** A size in words, such as "1.4 MB". */
export function sizeText(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits).replace(/\.0$/, "")} ${UNITS[unit]}`;
}
