/** The process that `probeJail` starts: prints what of the JailConfig in its argument is refused, as JSON. */
import { writeSync } from 'node:fs';
import { installSeccompFilter } from '#sys/seccomp.ts';
import { Forker } from './fork.ts';
import type { JailConfig } from './jail-config.ts';
import { probeHere } from './probe.ts';

const config = JSON.parse(process.argv[2] ?? '') as JailConfig;
writeSync(1, JSON.stringify(probeHere(new Forker({ installSeccomp: installSeccompFilter }), config)));
