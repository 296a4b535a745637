import { unit } from '#msg-socket/scalars.ts';

/** Main says nothing of the entropy device; its one descriptor is the source. */
export const RngParameters = unit;
