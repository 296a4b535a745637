import { isIPv4 } from 'node:net';
import { type HostForward, isNetmask, isPort, macProblem, type NetConfig, type NetSource } from '#vmm/net-config.ts';
import { type KeyReader, readBoolean, readStructuredOption, readText } from './structured-option.ts';

export interface ParsedNetOption {
  /** Absent when a problem kept it from being made. */
  readonly net?: NetConfig;
  readonly problems: readonly string[];
}

interface Draft {
  tapName?: string;
  tapFd?: number;
  hostIp?: string;
  netmask?: string;
  user?: boolean;
  mac?: string;
  hostLoopback?: boolean;
  pairs?: number;
  readonly hostForwards: HostForward[];
}

/** Who else is to reach the guest is to be said. */
const DEFAULT_HOST_ADDRESS = '127.0.0.1';
/** `[tcp:|udp:][ADDRESS:]PORT[-GUESTPORT]`. */
const FORWARD = /^(?:(?<protocol>tcp|udp):)?(?:(?<address>[0-9.]+):)?(?<host>[0-9]{1,5})(?:-(?<guest>[0-9]{1,5}))?$/;

const readers = new Map<string, KeyReader<Draft>>([
  ['tap-name', (draft, value) => readText(value, (name) => (draft.tapName = name))],
  [
    'tap-fd',
    (draft, value) => {
      if (value === undefined || !/^[0-9]{1,6}$/.test(value)) return 'must be the number of a descriptor';
      draft.tapFd = Number(value);
      return undefined;
    },
  ],
  [
    'host-ip',
    (draft, value) => {
      if (value === undefined || !isIPv4(value)) return 'must be an IPv4 address';
      draft.hostIp = value;
      return undefined;
    },
  ],
  [
    'netmask',
    (draft, value) => {
      if (value === undefined || !isNetmask(value)) {
        return 'must be the mask of an IPv4 network, such as 255.255.255.0';
      }
      draft.netmask = value;
      return undefined;
    },
  ],
  ['user', (draft, value) => readBoolean(value, (user) => (draft.user = user))],
  [
    'mac',
    (draft, value) => {
      const problem = macProblem(value ?? '');
      if (problem === undefined && value !== undefined) draft.mac = value.toLowerCase();
      return problem;
    },
  ],
  [
    'vq-pairs',
    (draft, value) => {
      if (value === undefined || !/^[0-9]{1,5}$/.test(value)) return 'must be a number of pairs of queues';
      draft.pairs = Number(value);
      return undefined;
    },
  ],
  ['hostfwd', (draft, value) => readForward(value, draft.hostForwards)],
  ['host-loopback', (draft, value) => readBoolean(value, (wanted) => (draft.hostLoopback = wanted))],
]);

export const NET_KEYS: readonly string[] = [...readers.keys()];

/**
 * The value of one `--net`: `tap-name=NAME[,vq-pairs=N]`, `host-ip=A,netmask=A[,vq-pairs=N]`, `tap-fd=N` or
 * `user[,hostfwd=…]…[,host-loopback=…]`, and `[,mac=…]`. Never throws.
 */
export function parseNetOption(text: string): ParsedNetOption {
  const draft: Draft = { hostForwards: [] };
  const problems = readStructuredOption(text, draft, { readers, repeatable: ['hostfwd'] });
  if (problems.length > 0) return { problems };
  const { tapName, tapFd, hostIp, netmask, user = false, mac, hostForwards, hostLoopback, pairs = 1 } = draft;
  const sources: NetSource[] = [];
  if (tapName !== undefined) sources.push({ kind: 'tap', name: tapName });
  if (tapFd !== undefined) sources.push({ kind: 'tap-fd', fd: tapFd });
  if ((hostIp === undefined) !== (netmask === undefined)) return { problems: ['host-ip and netmask go together'] };
  if (hostIp !== undefined && netmask !== undefined) sources.push({ kind: 'host', address: hostIp, netmask });
  if (user) sources.push({ kind: 'user', hostForwards, hostLoopback: hostLoopback ?? false });
  const [source] = sources;
  if (source === undefined || sources.length > 1)
    return { problems: ['needs one of tap-name=…, tap-fd=…, host-ip=… and user'] };
  const isForUser = hostForwards.length > 0 || hostLoopback !== undefined;
  if (isForUser && source.kind !== 'user') return { problems: ['hostfwd and host-loopback go with user alone'] };
  return { net: { source, mac, pairs }, problems };
}

function readForward(value: string | undefined, forwards: HostForward[]): string | undefined {
  const groups = FORWARD.exec(value ?? '')?.groups;
  if (groups === undefined) return 'must be [tcp:|udp:][ADDRESS:]PORT[-GUESTPORT]';
  const { protocol, address = DEFAULT_HOST_ADDRESS, host, guest = host } = groups;
  if (!isIPv4(address)) return 'the address must be IPv4';
  const hostPort = Number(host);
  const guestPort = Number(guest);
  if (!isPort(hostPort) || !isPort(guestPort)) return 'a port must be 1 to 65535';
  forwards.push({ protocol: protocol === 'udp' ? 'udp' : 'tcp', hostAddress: address, hostPort, guestPort });
  return undefined;
}
