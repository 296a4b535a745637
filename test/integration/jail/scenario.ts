/** Runs as a single-threaded process: forks children, looks at them and prints what it saw as JSON. Its argument names what. */
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Forker } from '#jail/fork.ts';
import { BASE_JAIL, type JailConfig } from '#jail/jail-config.ts';
import { JailError } from '#jail/jail-error.ts';
import { currentIds } from '#sys/credentials.ts';
import { Fd } from '#sys/fd.ts';
import { bufferOver } from '#sys/ffi.ts';
import { OpenFlag, open, read, write } from '#sys/file.ts';
import { Advice, MapFlag, madvise, memfdCreate, mmap, Prot } from '#sys/memory.ts';
import { getSecureBits, isDumpable } from '#sys/prctl.ts';
import { type ChildStatus, getpid } from '#sys/process.ts';
import { installSeccompFilter } from '#sys/seccomp.ts';
import { kill, Signal } from '#sys/signal.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { killOnOpening } from './filters.ts';
import { childrenOf, linksIn, viewOf } from './observe.ts';
import { REFUSED_MAP } from './refused-map.ts';

/** All of uapi/linux/securebits.h with their locks, KEEP_CAPS locked only. */
const SECURE_BITS = 0xef;

const forker = new Forker({ installSeccomp: installSeccompFilter });

/** A child that waits for a byte, or its end. */
function waitingChild(jail: JailConfig, run: (socket: number) => number = () => 0) {
  const [ours, theirs] = socketpair(SocketType.SEQPACKET);
  const child = forker.fork({
    name: 'a-long-device-name',
    jail,
    keepFds: [theirs],
    run: () => {
      read(theirs, new Uint8Array(1));
      return run(theirs);
    },
  });
  new Fd(theirs).close();
  child.waitReady();
  return { child, socket: new Fd(ours), theirs };
}

function view(parameter: string | undefined) {
  if (parameter === 'free') return viewOfChild({ namespaces: [], root: 'host', rlimits: {}, dumpable: true });
  return viewOfChild({
    ...BASE_JAIL,
    ...(parameter === 'traceable' ? { dumpable: true } : {}),
    ...(parameter === 'root-alone' ? { namespaces: BASE_JAIL.namespaces.filter((name) => name !== 'user') } : {}),
    ...(parameter === 'nobody' || parameter === 'root-alone' ? { user: { uid: 65534, gid: 65534 } } : {}),
    seccomp: killOnOpening(),
  });
}

function viewOfChild(jail: JailConfig) {
  const { child, socket, theirs } = waitingChild(jail, () =>
    getSecureBits() === SECURE_BITS ? Number(isDumpable()) : 2,
  );
  const device = viewOf(child.pid);
  write(socket.fd, Uint8Array.of(1));
  const status = child.wait();
  return { device, own: viewOf(getpid()), kept: theirs, reserved: forker.reservedFds, status };
}

function work(rounds: number): number {
  let sum = 0;
  let garbage: { k: number; sum: number }[] = [];
  for (let k = 0; k < rounds; k++) {
    sum = (sum * 31 + k) | 0;
    if (k % 8 === 0) garbage.push({ k, sum });
    if (garbage.length > 20_000) garbage = [];
  }
  return sum;
}

/** JIT and garbage collector in the jail, under a filter. */
function compute() {
  const answer = new Uint8Array(4);
  const { child, socket } = waitingChild({ ...BASE_JAIL, seccomp: killOnOpening() }, (theirs) => {
    const sum = work(2_000_000);
    globalThis.gc?.();
    write(theirs, new Uint8Array(Int32Array.of(sum).buffer));
    return 42;
  });
  write(socket.fd, Uint8Array.of(1));
  read(socket.fd, answer);
  return { status: child.wait(), sum: new Int32Array(answer.buffer)[0], expected: work(2_000_000) };
}

/** Statuses of children that end by themselves in different ways, in a pid namespace and without. */
function statuses() {
  const ends: Record<string, () => number> = {
    zero: () => 0,
    seven: () => 7,
    'two hundred and fifty-five': () => 255,
    'too large': () => 256,
    throws: () => {
      throw new Error('a broken assumption');
    },
    opens: () => open('/dev/null', OpenFlag.RDONLY),
  };
  const found: Record<string, ChildStatus[]> = {};
  for (const [name, run] of Object.entries(ends)) {
    found[name] = [BASE_JAIL.namespaces, BASE_JAIL.namespaces.filter((namespace) => namespace !== 'pid')].map(
      (namespaces) => {
        using child = forker.fork({
          name,
          jail: { ...BASE_JAIL, namespaces, seccomp: killOnOpening() },
          keepFds: [],
          run,
        });
        child.waitReady();
        return child.wait();
      },
    );
  }
  return found;
}

/**
 * The child is ended by a signal. The first process of a pid namespace takes SIGKILL from outside and
 * its own faults; without such a namespace every signal counts.
 */
function signals() {
  const readAddress = (address: number) => new Uint8Array(bufferOver(address, 1)).at(0) ?? 0;
  const faults: Record<string, () => number> = {
    SIGSEGV: () => readAddress(4096),
    SIGBUS: () =>
      readAddress(mmap({ sizeBytes: 4096, prot: Prot.READ, flags: MapFlag.SHARED, fd: memfdCreate('empty') })),
  };
  const faulted = Object.entries(faults).map(([name, run]) => {
    using child = forker.fork({ name, jail: BASE_JAIL, keepFds: [], run });
    return { name, status: child.wait() };
  });
  const { child: killed } = waitingChild(BASE_JAIL);
  kill(killed.pid, Signal.SIGKILL);
  const { child: terminated } = waitingChild({ ...BASE_JAIL, namespaces: ['user'], root: 'host' });
  kill(terminated.pid, Signal.SIGTERM);
  return [...faulted, { name: 'SIGKILL', status: killed.wait() }, { name: 'SIGTERM', status: terminated.wait() }];
}

function descriptorsAndChildren() {
  globalThis.gc?.();
  const maps = readFileSync('/proc/self/maps', 'latin1').split('\n').length;
  return { fds: linksIn('/proc/self/fd'), children: childrenOf(getpid()), maps };
}

function hundred() {
  const statuses: ChildStatus[] = [];
  const forkOnce = () => {
    using child = forker.fork({ name: 'one', jail: BASE_JAIL, keepFds: [], run: () => 3 });
    child.waitReady();
    return child.wait();
  };
  forkOnce();
  const before = descriptorsAndChildren();
  for (let i = 0; i < 100; i++) statuses.push(forkOnce());
  return { before, after: descriptorsAndChildren(), statuses };
}

/** Memory outside of V8's heap is freed in the child, upon which Node writes to an eventfd of its loop. */
function freedMemory() {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-jail-'));
  try {
    const disk = openSync(join(folder, 'disk'), 'w+');
    using child = forker.fork({
      name: 'frees',
      jail: BASE_JAIL,
      keepFds: [disk],
      run: () => {
        // Every free number below now leads to the disk, as the descriptors that a device opens would.
        for (let i = 0; i < 20; i++) new Fd(disk).duplicate();
        for (let i = 0; i < 500; i++) {
          const address = mmap({ sizeBytes: 4096, prot: Prot.READ, flags: MapFlag.PRIVATE | MapFlag.ANONYMOUS });
          new Uint8Array(bufferOver(address, 4096)).at(0);
        }
        globalThis.gc?.();
        globalThis.gc?.();
        return 9;
      },
    });
    const status = child.wait();
    const written = readFileSync(join(folder, 'disk')).length;
    closeSync(disk);
    return { status, written };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A folder as the root, of a child that is root there: what it sees, and what comes of writing. */
function folder(parameter: string | undefined) {
  const path = mkdtempSync(join(tmpdir(), 'crosvm-root-'));
  const own = (id: number) => [{ inside: 0, outside: id, count: 1 }];
  const ids = { uidMap: own(process.geteuid?.() ?? 0), gidMap: own(process.getegid?.() ?? 0) };
  closeSync(openSync(join(path, 'file'), 'w'));
  try {
    const root = { folder: path, readOnly: parameter === 'read-only' };
    const { child, socket } = waitingChild({ ...BASE_JAIL, ...ids, root, dumpable: true }, () => {
      const outcomes = ['/file', '/etc/passwd', '/../etc/passwd'].map((name) => opens(name, OpenFlag.RDONLY));
      return [...outcomes, opens('/made', OpenFlag.WRONLY | OpenFlag.CREAT)].reduce((bits, bit) => bits * 2 + bit, 0);
    });
    const { rootEntries, mounts, status } = viewOf(child.pid);
    write(socket.fd, Uint8Array.of(0));
    const end = child.wait();
    return { rootEntries, mounts, caps: status['CapEff'], end, made: readdirSync(path) };
  } finally {
    rmSync(path, { recursive: true });
  }
}

function opens(path: string, flags: number): number {
  try {
    open(path, flags, 0o600);
    return 1;
  } catch {
    return 0;
  }
}

/** A user namespace of many users, or of one other, of which the child is the first. */
function mapped(parameter: string | undefined) {
  const first = { inside: 0, outside: 100_000, count: parameter === 'one' ? 1 : 1000 };
  const map = parameter === 'one' ? [first] : [first, { inside: 5000, outside: 0, count: 1 }];
  const capabilities = 0b1011;
  const { child, socket } = waitingChild(
    { ...BASE_JAIL, uidMap: map, gidMap: map, capabilities, dumpable: true },
    () => {
      const { uid, gid } = currentIds();
      return uid + gid;
    },
  );
  const device = viewOf(child.pid);
  write(socket.fd, Uint8Array.of(0));
  return { device: device.status, end: child.wait() };
}

/** Maps that the kernel refuses to everybody: two ranges have the same ids inside. */
function refused() {
  const map = REFUSED_MAP;
  using child = forker.fork({
    name: 'refused',
    jail: { ...BASE_JAIL, uidMap: map },
    keepFds: [],
    run: () => 0,
  });
  try {
    child.waitReady();
    return { refusal: undefined, status: child.wait() };
  } catch (error) {
    return { refusal: error instanceof JailError ? error.refusal : String(error), status: child.wait() };
  }
}

/** Memory that was marked as V8 marks its own is in the child, whose own is not kept from it either. */
function inherited() {
  const marked = (): Uint8Array => {
    const address = mmap({ sizeBytes: 4096, prot: Prot.READ | Prot.WRITE, flags: MapFlag.PRIVATE | MapFlag.ANONYMOUS });
    madvise(address, 4096, Advice.DONTFORK);
    return new Uint8Array(bufferOver(address, 4096));
  };
  const ours = marked();
  ours[0] = 20;
  let theirs: Uint8Array | undefined;
  let hasRings = false;
  using child = forker.fork({
    name: 'heir',
    jail: BASE_JAIL,
    keepFds: [],
    prepare: () => {
      theirs = marked();
      theirs[0] = 3;
      hasRings = readFileSync('/proc/self/maps', 'latin1').includes('io_uring');
    },
    run: () => (ours[0] ?? 0) + (theirs?.[0] ?? 0) + (hasRings ? 100 : 0),
  });
  child.waitReady();
  // What is mapped at any time must not be kept from the next child.
  marked();
  // proc(5), VmFlags: `dc` is a mapping that a fork does not copy. The kernel has some of its own, and libuv's rings are none of a child's.
  const mappings = readFileSync('/proc/self/smaps', 'latin1').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const kept = mappings.filter((mapping) => /^VmFlags:.* dc /m.test(mapping) && !/\[vvar|io_uring/.test(mapping));
  return { status: child.wait(), kept };
}

/** Prints its children's ids and waits to be killed. */
function orphans(): unknown {
  const { child } = waitingChild(BASE_JAIL);
  writeSync(1, `${JSON.stringify({ device: child.pid })}\n`);
  for (;;) read(0, new Uint8Array(1));
}

const scenarios: Record<string, (parameter: string | undefined) => unknown> = {
  view,
  compute,
  statuses,
  signals,
  hundred,
  freedMemory,
  refused,
  orphans,
  inherited,
  folder,
  mapped,
};

const [name = '', parameter] = process.argv.slice(2);
const observation = scenarios[name]?.(parameter);
writeSync(1, JSON.stringify(observation));
