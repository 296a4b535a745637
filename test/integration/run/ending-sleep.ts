/** Loaded into a vCPU's thread before its own code: instead of sleeping while the guest is halted it ends. */
const wait = Atomics.wait;
// A halted vCPU sleeps for a time, though it may be Infinity; the wait for the machine's begin has none.
Atomics.wait = (...parameters: unknown[]) =>
  parameters.length === 4 ? process.exit(3) : wait(...(parameters as Parameters<typeof wait>));
