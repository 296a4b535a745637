import type { IdMap } from '#jail/jail-config.ts';

/** Its ranges overlap: EINVAL for who may write maps, EPERM for others. */
export const REFUSED_MAP: readonly IdMap[] = [
  { inside: 0, outside: 1, count: 70_000 },
  { inside: 5, outside: 100_000, count: 1 },
];
