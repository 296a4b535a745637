/** Taps in a network namespace that the caller has made: what is found goes to standard output as JSON. */
import { spawnSync } from 'node:child_process';
import { HEADER_BYTES, NetFeature } from '#devices/virtio/net/constants.ts';
import { NetParameters } from '#devices/virtio/net/parameters.ts';
import { TapBackend } from '#devices/virtio/net/tap-backend.ts';
import { decodeBytes } from '#msg-socket/bytes.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { openTap, TapFlag, tapFlags } from '#sys/tap.ts';
import { errorMessage } from '#util/errors.ts';
import { netPlan } from '#vmm/devices/plans/net.ts';
import type { NetSource } from '#vmm/net-config.ts';

const { TAP, NO_PI, VNET_HDR } = TapFlag;
const MAC = [0x52, 0x54, 0, 0, 0, 1] as const;
const WAIT_MS = 5000;

function ip(...words: readonly string[]): void {
  const { status, stderr } = spawnSync('ip', words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${stderr}`);
}

/** An ARP request (RFC 826) of 10.9.0.2 for 10.9.0.1, behind an empty virtio header. */
function arpRequest(): Uint8Array {
  const ethernet = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ...MAC, 0x08, 0x06];
  const arp = [0, 1, 8, 0, 6, 4, 0, 1, ...MAC, 10, 9, 0, 2, 0, 0, 0, 0, 0, 0, 10, 9, 0, 1];
  return Uint8Array.from([...new Uint8Array(HEADER_BYTES), ...ethernet, ...arp]);
}

/** The operation of the first ARP packet that comes for us; undefined when none does. */
function awaitArp(backend: TapBackend): number | undefined {
  while (pollFd(backend.fd, PollFlag.IN, WAIT_MS) !== 0) {
    const packet = backend.receive();
    if (packet === undefined) return undefined;
    const frame = packet.subarray(HEADER_BYTES);
    if (frame[12] === 0x08 && frame[13] === 0x06 && MAC.every((byte, at) => frame[at] === byte)) return frame[21];
  }
  return undefined;
}

function refusal(source: NetSource, pairs = 1): string {
  using stack = new DisposableStack();
  try {
    netPlan({ source, mac: undefined, pairs }, 0, { opened: stack, owned: stack });
    return 'none';
  } catch (error) {
    return errorMessage(error);
  }
}

/** Whether a queue takes part. */
const isAttached = ({ fd }: HasFd): boolean => (tapFlags(fd) & TapFlag.DETACH_QUEUE) === 0;

/** A tap of two queues, of which the second comes and goes. */
function severalQueues(owned: DisposableStack): Record<string, unknown> {
  ip('tuntap', 'add', 'dev', 'many', 'mode', 'tap', 'vnet_hdr', 'multi_queue');
  const source = { kind: 'tap', name: 'many' } as const;
  const one = refusal(source);
  const plan = netPlan({ source, mac: undefined, pairs: 2 }, 0, { opened: owned, owned });
  const [first, second] = plan.fds.map((fd) => new TapBackend(fd)) as [TapBackend, TapBackend];
  const attached = [isAttached(second)];
  for (const isActive of [false, false, true]) {
    second.setActive(isActive);
    attached.push(isAttached(second));
  }
  second.setActive(false);
  for (const backend of [first, second]) backend.useFeatures(backend.features);
  const ends = [first.end, second.end];
  return { one, queueCount: plan.queueCount, attached, ends, single: refusal({ kind: 'tap', name: 'named' }, 2) };
}

/** A tap that is made, with the host's address; what an ordinary user is told. */
function made(owned: DisposableStack): Record<string, unknown> {
  const source = { kind: 'host', address: '10.8.0.1', netmask: '255.255.255.0' } as const;
  const { fds } = netPlan({ source, mac: undefined, pairs: 2 }, 0, { opened: owned, owned });
  const { stdout } = spawnSync('ip', ['-4', '-brief', 'addr', 'show', 'vmtap0'], { encoding: 'utf8' });
  process.seteuid?.(65534);
  const unprivileged = refusal(source);
  process.seteuid?.(0);
  return { address: stdout.split(/\s+/)[2], queues: fds.map(isAttached), unprivileged };
}

function scenario(): Record<string, unknown> {
  using owned = new DisposableStack();
  ip('tuntap', 'add', 'dev', 'named', 'mode', 'tap', 'vnet_hdr');
  const given = owned.use(new Fd(openTap('given', TAP | NO_PI | VNET_HDR).fd));
  const plain = owned.use(new Fd(openTap('plain', TAP | NO_PI).fd));
  const source = { kind: 'tap', name: 'named' } as const;
  const plan = netPlan({ source, mac: undefined, pairs: 1 }, 3, { opened: owned, owned });
  const parameters = decodeBytes(NetParameters, plan.parameters);
  const busy = refusal(source);
  const backend = new TapBackend(plan.fds[0] as Fd);
  backend.useFeatures(backend.features);
  const withAll = backend.end;
  backend.useFeatures(NetFeature.GUEST_TSO4);
  backend.send(arpRequest(), arpRequest().length);
  const whileDown = backend.end;
  ip('addr', 'add', '10.9.0.1/24', 'dev', 'named');
  ip('link', 'set', 'named', 'up');
  backend.send(arpRequest(), arpRequest().length);
  const answer = awaitArp(backend);
  const several = severalQueues(owned);
  ip('link', 'del', 'named');
  while (backend.receive() !== undefined);
  return {
    name: plan.name,
    parameters: { backend: parameters.backend, mac: [...parameters.mac] },
    withAll: withAll ?? 'fine',
    whileDown: whileDown ?? 'fine',
    answer,
    deleted: backend.end,
    several,
    made: made(owned),
    busy,
    missing: refusal({ kind: 'tap', name: 'missing' }),
    given: refusal({ kind: 'tap-fd', fd: given.fd }),
    plain: refusal({ kind: 'tap-fd', fd: plain.fd }),
    closed: refusal({ kind: 'tap-fd', fd: 999_999 }),
    file: refusal({ kind: 'tap-fd', fd: owned.use(Fd.open('/dev/null')).fd }),
    detached: refusal({ kind: 'tap-fd', fd: owned.use(Fd.open('/dev/net/tun', OpenFlag.RDWR)).fd }),
    numbers: [given.fd, plain.fd],
  };
}

process.stdout.write(JSON.stringify(scenario()));
