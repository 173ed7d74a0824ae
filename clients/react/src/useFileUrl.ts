import type { Attachment, Files, Message, TidingsError } from "@tidings/client";
import { useCallback, useEffect, useMemo, useState } from "react";

/** How long before the end of an address a new one is requested, in milliseconds. */
const RENEW_BEFORE_MS = 45_000;
/** The pause before another request for a file that a scanner checks, in milliseconds. */
const HELD_PAUSE_MS = 10_000;
/** The first pause after a failure, and the longest one, in milliseconds. Each failure doubles the pause. */
const FIRST_PAUSE_MS = 2_000;
const MAX_PAUSE_MS = 60_000;

/** The address of a file. */
export interface FileUrlResult {
  /** Undefined until it is known, and while the file is `held`. */
  readonly url: string | undefined;
  /** Whether a scanner of the server still checks the file. The hook asks again. */
  readonly held: boolean;
  /** Why the server refuses the file for good. */
  readonly error: TidingsError | undefined;
  /** Requests a new address, because the present one does not work. */
  readonly renew: () => void;
}

const UNKNOWN = { url: undefined, held: false, error: undefined };
const isFinal = ({ code }: TidingsError) => /^(not_found|forbidden|bad_request)$/.test(code);

/**
 * The address of an attachment of a message. The hook requests it when it is mounted. While `keepFresh` is true it
 * replaces the address shortly before this ends: an element that has not loaded the file yet needs that. With
 * `preview` it is the address of a small picture, if the server has one.
 */
export function useFileUrl(
  files: Files | undefined,
  message: Pick<Message, "room" | "seq">,
  attachment: Attachment,
  keepFresh = false,
  preview = false,
): FileUrlResult {
  const { room, seq } = message;
  const { url, file } = attachment;
  const isKnown = url === undefined && file !== undefined && seq !== undefined;
  const key = isKnown ? `${room}/${seq}/${file}/${preview}` : "";
  const [state, setState] = useState<Omit<FileUrlResult, "renew"> & { key: string; expiresAt: number }>();
  /** Counts the calls of `renew`. */
  const [renewals, setRenewals] = useState(0);
  const renew = useCallback(() => setRenewals((count) => count + 1), []);
  const current = state?.key === key ? state : undefined;
  const expiresAt = current?.expiresAt ?? 0;

  // biome-ignore lint/correctness/useExhaustiveDependencies: `key` stands for the message, the attachment and `preview`
  useEffect(() => {
    if (files === undefined || key === "") return;
    let ended = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let pauseMs = FIRST_PAUSE_MS;
    const request = async (fresh: boolean): Promise<void> => {
      try {
        const link = await files.link(message, attachment, { fresh, preview });
        if (!ended) setState({ ...UNKNOWN, key, ...link });
      } catch (thrown) {
        if (ended) return;
        const error = thrown as TidingsError;
        const held = files.isHeld(error);
        if (!held && isFinal(error)) {
          setState({ ...UNKNOWN, key, error, expiresAt: 0 });
          return;
        }
        if (held) setState({ ...UNKNOWN, key, held, expiresAt: 0 });
        timer = setTimeout(() => void request(fresh), held ? HELD_PAUSE_MS : pauseMs);
        pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
      }
    };
    void request(renewals > 0);
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }, [files, key, renewals]);

  useEffect(() => {
    if (!keepFresh || expiresAt === 0 || !Number.isFinite(expiresAt)) return;
    const timer = setTimeout(renew, Math.max(expiresAt - Date.now() - RENEW_BEFORE_MS, 1_000));
    return () => clearTimeout(timer);
  }, [keepFresh, expiresAt, renew]);

  return useMemo(() => {
    if (url !== undefined) return { ...UNKNOWN, url, renew };
    const { url: known, held, error } = current ?? UNKNOWN;
    return { url: known, held, error, renew };
  }, [url, current, renew]);
}
