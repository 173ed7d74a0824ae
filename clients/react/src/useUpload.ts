import type { Files, Store, UploadState } from "@tidings/client";
import { useStore } from "./useStore.js";

const NO_UPLOAD: Store<undefined> = { get: () => undefined, subscribe: () => () => {} };

/** The state of an upload, by the id in `Attachment.upload`. An upload of an earlier page continues. */
export function useUpload(files: Files | undefined, id: string | undefined): UploadState | undefined {
  return useStore<UploadState | undefined>(
    files && id !== undefined ? files.upload(id) : NO_UPLOAD,
    undefined,
  );
}
