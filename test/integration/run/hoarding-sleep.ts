/** Loaded into a vCPU's thread before its own code: instead of sleeping while the guest is halted it uses up its memory. */
interface Link {
  readonly next: Link | undefined;
}

const wait = Atomics.wait;
Atomics.wait = (...parameters: unknown[]) => {
  // A halted vCPU sleeps for a time, though it may be Infinity; the wait for the machine's begin has none.
  if (parameters.length !== 4) return wait(...(parameters as Parameters<typeof wait>));
  // In small pieces: a large one that finds no room makes V8 end the process before Node can end the thread.
  let hoard: Link | undefined;
  for (;;) hoard = { next: hoard };
};
