/** The devices that have processes: how each is made there. Main knows them by these names. */
import { type Balloon, balloon } from '#devices/virtio/balloon/balloon.ts';
import { block } from '#devices/virtio/block/block.ts';
import { net } from '#devices/virtio/net/net.ts';
import { StreamBackend } from '#devices/virtio/net/stream-backend.ts';
import { TapBackend } from '#devices/virtio/net/tap-backend.ts';
import { UrandomSource } from '#devices/virtio/rng/entropy-source.ts';
import { rng } from '#devices/virtio/rng/rng.ts';
import { UnixHostSockets } from '#devices/virtio/vsock/host-sockets.ts';
import { vsock } from '#devices/virtio/vsock/vsock.ts';
import { diskOfChain } from '#disk/image-chain.ts';
import type { ImageFormat } from '#disk/qcow2/header.ts';
import type { DeviceMaker } from '#jail/warden-process.ts';
import type { ProtocolServer } from '#msg-socket/protocol.ts';
import type { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { BalloonControl } from '#vm-control/balloon-control.ts';
import { VsockConnect } from '#vm-control/vsock-connect.ts';
import { type ConsoleParameters, makeConsole } from './make-console.ts';
import { virtioMaker } from './virtio-process.ts';

/** What main says of a disk; its descriptors are the image and what lies below it. */
export interface BlockParameters {
  /** One for each descriptor. */
  readonly formats: readonly ImageFormat[];
  readonly readOnly: boolean;
  readonly sparse: boolean;
  readonly blockSizeBytes: number;
  readonly id: string;
}

export interface BalloonParameters {
  readonly ramSizeBytes: number;
}

/** Its descriptors: the listening socket, and the end of VsockConnect that asks. */
export interface VsockParameters {
  readonly cid: number;
}

/** Main has this long to connect. */
const CONNECT_TIMEOUT_MS = 5000;
/** What main says of a network interface; its descriptors are the queues of its tap, or the one socket. */
export interface NetParameters {
  readonly backend: 'tap' | 'stream';
  /** Six bytes. */
  readonly mac: readonly number[];
}

export type DeviceName = 'rng' | 'balloon' | 'block' | 'console' | 'net' | 'vsock';

function only(fds: readonly Fd[]): Fd {
  const [fd] = fds;
  assert(fd !== undefined && fds.length === 1, 'one descriptor of its own');
  return fd;
}

export const DEVICE_MAKERS: Readonly<Record<DeviceName, DeviceMaker>> = {
  rng: virtioMaker<null>(({ fds }) => ({ device: rng.create({ entropy: new UrandomSource(only(fds)) }) })),
  balloon: virtioMaker<BalloonParameters>(({ parameters, fds, log }) => {
    const device = balloon.create({ log, ramSizeBytes: parameters.ramSizeBytes });
    return { device, control: serveBalloon(only(fds), device) };
  }),
  block: virtioMaker<BlockParameters>(({ name, parameters, fds, log }) => {
    const { formats, readOnly, sparse, blockSizeBytes, id } = parameters;
    const disk = diskOfChain(fds, formats, readOnly);
    return { device: block.create({ disk, log, name, id, blockSizeBytes, sparse }) };
  }),
  console: virtioMaker<ConsoleParameters>(makeConsole),
  vsock: virtioMaker<VsockParameters>(({ parameters: { cid }, fds }) => {
    const [listener, main] = fds;
    assert(listener !== undefined && main !== undefined && fds.length === 2, 'a listening socket and the way to main');
    const timeouts = { sendMs: CONNECT_TIMEOUT_MS, receiveMs: CONNECT_TIMEOUT_MS };
    const host = new UnixHostSockets(listener, VsockConnect.client(main, timeouts));
    return { device: vsock.create({ cid, host, hostFds: host.keepFds() }) };
  }),
  net: virtioMaker<NetParameters>(({ name, parameters, fds, log }) => {
    const backends =
      parameters.backend === 'tap' ? fds.map((fd) => new TapBackend(fd)) : [new StreamBackend(only(fds))];
    return { device: net.create({ backends, log, name, mac: Uint8Array.from(parameters.mac) }) };
  }),
};

function serveBalloon(socket: Fd, device: Balloon): ProtocolServer {
  return BalloonControl.server(socket, {
    adjust: ({ sizeBytes }) => device.adjust(sizeBytes),
    state: () => device.state(),
  });
}
