/** Loaded into a vCPU's thread before its own code: instead of sleeping it uses up its memory. */
interface Link {
  readonly next: Link | undefined;
}

Atomics.wait = () => {
  // In small pieces: a large one that finds no room makes V8 end the process before Node can end the thread.
  let hoard: Link | undefined;
  for (;;) hoard = { next: hoard };
};
