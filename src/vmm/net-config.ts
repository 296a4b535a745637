/** A network interface as the user describes it: plain data, and what can be wrong with it. */
import { isIPv4 } from 'node:net';
import { QUEUE_PAIRS_MAX } from '#devices/virtio/net/constants.ts';
import type { Mistake } from './config.ts';

/** A port of the host that leads into the guest. */
export interface HostForward {
  readonly protocol: 'tcp' | 'udp';
  /** The host's address that is listened at: IPv4, dotted. */
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly guestPort: number;
}

/** What is behind a network interface of the guest. */
export type NetSource =
  /** A tap interface of the host, by its name. */
  | { readonly kind: 'tap'; readonly name: string }
  /** One that whoever started crosvm has opened: the number of the descriptor, which stays open. */
  | { readonly kind: 'tap-fd'; readonly fd: number }
  /** A tap that is made for the machine, with the host's address at it. */
  | { readonly kind: 'host'; readonly address: string; readonly netmask: string }
  /** passt(1): connections of the guest are made by a process of the user's. */
  | {
      readonly kind: 'user';
      readonly hostForwards: readonly HostForward[];
      /** The guest reaches the host's own services at the gateway's address. */
      readonly hostLoopback: boolean;
    };

export interface NetConfig {
  readonly source: NetSource;
  /** The guest's address, `52:54:00:12:34:56`; undefined: drawn at random. */
  readonly mac: string | undefined;
  /** Pairs of queues: more than one for a tap of several queues alone. */
  readonly pairs: number;
}

/** Disks, the entropy device and these have one PCI bus of 32. */
const NETS_MAX = 4;
const PORT_MAX = 0xffff;
/** As the kernel has it, dev_valid_name: and nothing that a terminal would act upon. */
const INTERFACE_NAME = /^(?!\.{1,2}$)[!-.0-9;-~]{1,15}$/;
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;

/** What is wrong with an interface's address as text. */
export function macProblem(text: string): string | undefined {
  if (!MAC.test(text)) return 'must be six bytes in hexadecimal with colons between';
  if ((Number.parseInt(text, 16) & 1) !== 0) return 'is the address of a group';
  return /[1-9a-f]/i.test(text) ? undefined : 'must not be all zeros';
}

/** The bytes of an address that has no problem. */
export function macBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}

/** The bytes of an IPv4 address that has no problem. */
export function ipv4Bytes(text: string): Uint8Array {
  return Uint8Array.from(text.split('.'), Number);
}

/** Ones, then zeros, and not zeros alone. */
export function isNetmask(text: string): boolean {
  if (!isIPv4(text)) return false;
  const zeros = ~new DataView(ipv4Bytes(text).buffer).getUint32(0);
  return zeros !== -1 && (zeros & (zeros + 1)) === 0;
}

export function isPort(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= PORT_MAX;
}

/** What can be told before anything is opened or started. */
export function netMistakes(nets: readonly NetConfig[]): Mistake[] {
  const messages = nets.flatMap(({ source, mac, pairs }) => {
    const problem = mac === undefined ? undefined : macProblem(mac);
    return [
      ...(problem === undefined ? [] : [`mac: ${problem}`]),
      ...pairsProblems(source, pairs),
      ...sourceProblems(source),
    ];
  });
  if (nets.length > NETS_MAX) messages.push(`at most ${NETS_MAX} interfaces are possible`);
  const repeated = (keys: readonly string[]): string[] => keys.filter((key, at) => keys.indexOf(key) !== at);
  messages.push(...repeated(nets.flatMap(placesOf)).map((place) => `${place} is given twice`));
  return messages.map((message) => ({ option: '--net', message }));
}

function pairsProblems({ kind }: NetSource, pairs: number): string[] {
  if (!Number.isInteger(pairs) || pairs < 1 || pairs > QUEUE_PAIRS_MAX) {
    return [`vq-pairs: must be 1 to ${QUEUE_PAIRS_MAX}`];
  }
  const isPossible = pairs === 1 || kind === 'tap' || kind === 'host';
  return isPossible ? [] : ['vq-pairs: more than one goes with tap-name and host-ip alone'];
}

function sourceProblems(source: NetSource): string[] {
  switch (source.kind) {
    case 'tap':
      return INTERFACE_NAME.test(source.name) ? [] : ['tap-name: is no name of an interface'];
    case 'tap-fd':
      return Number.isInteger(source.fd) && source.fd > 2 ? [] : ['tap-fd: must be a descriptor from 3 on'];
    case 'host':
      return [
        ...(isIPv4(source.address) ? [] : ['host-ip: must be an IPv4 address']),
        ...(isNetmask(source.netmask) ? [] : ['netmask: must be the mask of an IPv4 network, such as 255.255.255.0']),
      ];
    case 'user':
      return source.hostForwards.flatMap(({ hostAddress, hostPort, guestPort }) => [
        ...(isIPv4(hostAddress) ? [] : ['hostfwd: the host’s address must be IPv4']),
        ...(isPort(hostPort) && isPort(guestPort) ? [] : [`hostfwd: a port must be 1 to ${PORT_MAX}`]),
      ]);
  }
}

/** What only one interface can have. */
function placesOf({ source }: NetConfig): string[] {
  if (source.kind === 'tap') return [`tap-name=${source.name}`];
  if (source.kind === 'tap-fd') return [`tap-fd=${source.fd}`];
  if (source.kind === 'host') return [`host-ip=${source.address}`];
  return source.hostForwards.map(
    ({ protocol, hostAddress, hostPort }) => `hostfwd=${protocol}:${hostAddress}:${hostPort}`,
  );
}
