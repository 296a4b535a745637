/** What of a jail a host refuses, found out before a machine is started. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { CodedError } from '#util/errors.ts';
import { programEntry } from '#util/package-files.ts';
import { FORKABLE_NODE_OPTIONS, type Forker } from './fork.ts';
import { BASE_JAIL, type JailConfig, NAMESPACES } from './jail-config.ts';
import { JailError, type JailRefusal, type JailStep } from './jail-error.ts';
import { REMEDIES } from './remedies.ts';

/** A part of the jail that cannot be had here. */
export interface Refused {
  readonly what: JailStep;
  /** Positive; 0 when it was no system call that failed. */
  readonly errno: number;
  readonly message: string;
  readonly whatToDo: string;
}

/** The probe could not be made at all. */
export class ProbeError extends CodedError<'PROBE_FAILED'> {
  override readonly name = 'ProbeError';
}

/** BPF_RET with SECCOMP_RET_ALLOW. */
const ALLOW_ALL = Uint8Array.of(0x06, 0, 0, 0, 0x00, 0x00, 0xff, 0x7f);

function refused({ step, errno, message }: JailRefusal): Refused {
  return { what: step, errno, message, whatToDo: REMEDIES[step] };
}

/** The jails that are tried: each namespace alone, so that all that are refused are known, the root, and then everything. */
function* trials(config: JailConfig): Generator<JailConfig, void> {
  const base: JailConfig = { ...config, namespaces: [], root: 'host', rlimits: {} };
  const userNamespace = config.namespaces.filter((name) => name === 'user');
  if (userNamespace.length > 0) yield { ...base, namespaces: userNamespace };
  for (const name of NAMESPACES) {
    if (name !== 'user' && config.namespaces.includes(name)) yield { ...base, namespaces: [...userNamespace, name] };
  }
  if (config.root === 'empty') yield { ...base, namespaces: [...userNamespace, 'mount'], root: 'empty' };
  yield { ...config, seccomp: config.seccomp ?? ALLOW_ALL };
}

/** Tries `config` in throw-away children of this process and returns what was refused, nothing when all of it works. */
export function probeHere(forker: Forker, config: JailConfig = BASE_JAIL): Refused[] {
  const found = new Map<JailStep, Refused>();
  for (const jail of trials(config)) {
    const refusal = tryJail(forker, jail);
    if (refusal !== undefined && !found.has(refusal.step)) found.set(refusal.step, refused(refusal));
    // Everything else would be refused for want of it.
    if (refusal?.step === 'user namespace' || refusal?.step === 'user change') break;
  }
  return [...found.values()];
}

function tryJail(forker: Forker, jail: JailConfig): JailRefusal | undefined {
  using child = forker.fork({ name: 'jail-probe', jail, keepFds: [], run: () => 0 });
  try {
    child.waitReady();
    return undefined;
  } catch (error) {
    if (error instanceof JailError) return error.refusal;
    throw error;
  }
}

/** A probe takes a fraction of a second, on a loaded machine some. */
const PROBE_TIMEOUT_MS = 15_000;
/** Seen once in some hundred runs of the tests: a process that never came back, for a reason that is not known. It is started anew. */
const ATTEMPTS = 3;

/**
 * As `probeHere`, from a process that must not fork, such as main: a Node process is started for it, which takes a fraction of a
 * second. Throws ProbeError when that does not work.
 */
export function probeJail(config: JailConfig = BASE_JAIL): Refused[] {
  let { status, signal, stdout, stderr, error } = startProbe(config);
  for (let attempt = 1; attempt < ATTEMPTS && isTimeout(error); attempt++) {
    ({ status, signal, stdout, stderr, error } = startProbe(config));
  }
  if (error !== undefined) throw new ProbeError('PROBE_FAILED', error.message, { cause: error });
  if (status !== 0) throw new ProbeError('PROBE_FAILED', `the probe ended with ${status ?? signal}: ${stderr.trim()}`);
  return JSON.parse(stdout) as Refused[];
}

const isTimeout = (error: Error | undefined): boolean =>
  error !== undefined && 'code' in error && error.code === 'ETIMEDOUT';

function startProbe(config: JailConfig) {
  const entry = fileURLToPath(programEntry('jail/probe-main'));
  return spawnSync(
    process.execPath,
    [...FORKABLE_NODE_OPTIONS, entry, JSON.stringify({ ...config, seccomp: undefined })],
    { encoding: 'utf8', timeout: PROBE_TIMEOUT_MS, killSignal: 'SIGKILL', env: {}, cwd: '/' },
  );
}
