/** Told of changes of pages with decoded code. */
export interface CodeWatcher {
  hasCode(physicalPage: number): boolean;
  /** Whether the page may be written without telling until the TLB's entries for it are taken away. */
  mayWriteUnseen(physicalPage: number): boolean;
  /** Bytes of a page with code are about to change. */
  written(physicalAddress: number, sizeBytes: number, record: number): void;
  /** Bytes have changed. */
  changed(physicalAddress: number, sizeBytes: number): void;
}

export const NO_WATCHER: CodeWatcher = {
  hasCode: () => false,
  mayWriteUnseen: () => true,
  written: () => undefined,
  changed: () => undefined,
};
