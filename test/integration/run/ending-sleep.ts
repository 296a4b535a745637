/** Loaded into a vCPU's thread before its own code: instead of sleeping it ends. */
Atomics.wait = () => process.exit(3);
