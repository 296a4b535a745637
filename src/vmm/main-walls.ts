import { dropProcessPrivileges, installProcessFilter } from '#jail/process-walls.ts';
import { exitNow } from '#sys/process.ts';
import type { Policies } from './policies.ts';

/** What main, with its vCPU threads, puts around itself: whatever it still does has to be in its policy. */
export class MainWalls {
  readonly #filter: Uint8Array;

  /** Reads the policy. Throws ConfigError for one of the user's. */
  constructor(policies: Policies) {
    this.#filter = policies.main();
  }

  /** Of all threads, before any vCPU is made. Threads that start later have what is left. Throws JailError. */
  dropPrivileges(): void {
    dropProcessPrivileges();
  }

  /** When everything that the threads need is loaded and made, before the guest runs. Throws JailError. */
  installFilter(): void {
    installProcessFilter(this.#filter);
    // Node takes its event loop apart when it ends, for which libuv uses its io_uring; that would open files past any filter.
    process.once('exit', exitNow);
  }
}
