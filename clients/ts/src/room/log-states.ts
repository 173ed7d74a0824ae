/** How the log of a room handles frames, as a table which `log.ts` executes. */

/**
 * The intake of the log. `open`: the log takes frames. `closed`: a page is read, and a join will follow it.
 * `joining`: that join was sent.
 */
export type Intake = "open" | "closed" | "joining";

/** What a state does with frames, and the state that follows each event. A missing event changes nothing. */
export interface IntakeRow {
  /**
   * Frames (events and `room:caught_up`) are dropped. Between a load and the answer to its join they would
   * move the cursor over events that the page does not contain.
   */
  readonly drops?: true;
  /** A page is read, because the log is not followed or the messages are stale. */
  readonly load: Intake;
  /** The join that follows the page is sent. */
  readonly join?: Intake;
  /** A join is answered. */
  readonly joined?: Intake;
  /** The connection is lost, or a gap is skipped. */
  readonly reset: Intake;
}

const RESTART = { load: "closed", reset: "open" } as const;

export const INTAKE: { readonly [I in Intake]: IntakeRow } = {
  open: RESTART,
  closed: { ...RESTART, drops: true, join: "joining" },
  joining: { ...RESTART, drops: true, joined: "open" },
};
