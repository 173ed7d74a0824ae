/** The scroll position of a room: the message at the top of the view. */
export interface SavedPosition {
  readonly seq: number;
  /** The key of the message's row, and the px of free space above it. */
  readonly key: string;
  readonly above: number;
}
