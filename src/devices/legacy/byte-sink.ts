/** Where a device's output bytes go. */
export interface ByteSink {
  write(byte: number): void;
  /** Passes on what `write` may still hold back. */
  flush?(): void;
  /** More had better wait: what is written nevertheless may be lost. Absent where `write` itself waits for room. */
  readonly isFull?: boolean;
}

/** Takes bytes and forgets them. */
export const nullSink: ByteSink = {
  write() {},
};
