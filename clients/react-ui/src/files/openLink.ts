import type { Attachment, Files, Message } from "@tidings/client";
import { fileName } from "../logic/attachments.js";

/**
 * Opens a file in another tab, or downloads it if the server says so. Resolves to a text for the user if the file cannot
 * be opened yet. Rejects with TidingsError.
 */
export async function openLink(
  files: Files,
  message: Message,
  attachment: Attachment,
): Promise<string | undefined> {
  let url: string;
  try {
    ({ url } = await files.link(message, attachment));
  } catch (error) {
    if (files.isHeld(error)) return "The file is still being checked. Please try again in a moment.";
    throw error;
  }
  const link = document.createElement("a");
  link.href = url;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  link.download = fileName(attachment);
  link.click();
  return undefined;
}
