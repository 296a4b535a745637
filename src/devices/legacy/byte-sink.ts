/** Where a device's output bytes go. */
export interface ByteSink {
  write(byte: number): void;
  /** Passes on what `write` may still hold back. */
  flush?(): void;
}

/** Takes bytes and forgets them. */
export const nullSink: ByteSink = {
  write() {},
};
