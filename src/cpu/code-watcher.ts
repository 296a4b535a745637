/** Told of changes of pages with decoded code. */
export interface CodeWatcher {
  hasCode(physicalPage: number): boolean;
  /** Whether the page may be written without telling until the TLB's entries for it are taken away. */
  mayWriteUnseen(physicalPage: number): boolean;
  /** Bytes of a page with code are about to change. False where they must not yet: whoever writes does it again. */
  written(physicalAddress: number, sizeBytes: number, record: number): boolean;
  /** Bytes have changed. */
  changed(physicalAddress: number, sizeBytes: number): void;
}

export const NO_WATCHER: CodeWatcher = {
  hasCode: () => false,
  mayWriteUnseen: () => true,
  written: () => true,
  changed: () => undefined,
};
