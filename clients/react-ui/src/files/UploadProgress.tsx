import type { Attachment, UploadState } from "@tidings/client";
import { sizeText } from "../logic/attachments.js";
import { errorText } from "../logic/connection.js";

/** What an upload is doing, for the user. */
export function uploadText(attachment: Attachment, state: UploadState | undefined): string {
  const size = sizeText(attachment.size);
  switch (state?.phase) {
    case "failed":
      return state.error?.reason === "file_lost" ? state.error.message : errorText(state.error);
    case "complete":
      return size;
    case "sending":
      return `${sizeText(state.sent)} of ${size}`;
    case "checking":
      return "Almost done…";
    default:
      return `Waiting, ${size}`;
  }
}

/** The progress of an upload; nothing when it is complete or has failed. */
export function UploadProgress({
  attachment,
  state,
}: {
  attachment: Attachment;
  state: UploadState | undefined;
}) {
  if (state?.phase === "complete" || state?.phase === "failed") return null;
  const size = Math.max(attachment.size, 1);
  return (
    <progress
      className="tidings-upload-progress"
      aria-label={`Upload of ${attachment.name}`}
      max={100}
      value={Math.floor((100 * (state?.sent ?? 0)) / size)}
    />
  );
}
