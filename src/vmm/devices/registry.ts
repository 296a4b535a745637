/** The devices that have processes: how each is made there. Main knows them by these names. */

import { type Balloon, balloon } from '#devices/virtio/balloon/balloon.ts';
import { BalloonParameters } from '#devices/virtio/balloon/parameters.ts';
import { type Block, block } from '#devices/virtio/block/block.ts';
import { BlockParameters } from '#devices/virtio/block/parameters.ts';
import { fs } from '#devices/virtio/fs/fs.ts';
import { FsParameters } from '#devices/virtio/fs/parameters.ts';
import { input } from '#devices/virtio/input/input.ts';
import { SocketSource } from '#devices/virtio/input/input-source.ts';
import { inputTable } from '#devices/virtio/input/input-table.ts';
import { InputParameters } from '#devices/virtio/input/parameters.ts';
import { net } from '#devices/virtio/net/net.ts';
import { NetParameters } from '#devices/virtio/net/parameters.ts';
import { StreamBackend } from '#devices/virtio/net/stream-backend.ts';
import { TapBackend } from '#devices/virtio/net/tap-backend.ts';
import { PmemParameters } from '#devices/virtio/pmem/parameters.ts';
import { pmem } from '#devices/virtio/pmem/pmem.ts';
import { UrandomSource } from '#devices/virtio/rng/entropy-source.ts';
import { RngParameters } from '#devices/virtio/rng/parameters.ts';
import { rng } from '#devices/virtio/rng/rng.ts';
import { UnixHostSockets } from '#devices/virtio/vsock/host-sockets.ts';
import { VsockParameters } from '#devices/virtio/vsock/parameters.ts';
import { vsock } from '#devices/virtio/vsock/vsock.ts';
import { diskOfChain } from '#disk/image-chain.ts';
import { RawDisk } from '#disk/raw.ts';
import type { DeviceMaker } from '#jail/warden-process.ts';
import type { ProtocolServer } from '#msg-socket/protocol.ts';
import type { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { BalloonControl } from '#vm-control/balloon-control.ts';
import { DiskControl } from '#vm-control/disk-control.ts';
import { VsockConnect } from '#vm-control/vsock-connect.ts';
import { ConsoleParameters, makeConsole } from './make-console.ts';
import { makeCmos, makeI8042 } from './make-legacy.ts';
import { makeSerial } from './make-serial.ts';
import { openSharedDir } from './shared-dir.ts';
import { virtioMaker } from './virtio-process.ts';

/** Main has this long to connect. */
const CONNECT_TIMEOUT_MS = 5000;

export type DeviceName =
  | 'rng'
  | 'balloon'
  | 'block'
  | 'cmos'
  | 'console'
  | 'fs'
  | 'i8042'
  | 'input'
  | 'net'
  | 'pmem'
  | 'serial'
  | 'vsock';

function only(fds: readonly Fd[]): Fd {
  const [fd] = fds;
  assert(fd !== undefined && fds.length === 1, 'one descriptor of its own');
  return fd;
}

export const DEVICE_MAKERS: Readonly<Record<DeviceName, DeviceMaker>> = {
  rng: virtioMaker(RngParameters, ({ fds }) => ({ device: rng.create({ entropy: new UrandomSource(only(fds)) }) })),
  balloon: virtioMaker(BalloonParameters, ({ parameters, fds, log }) => {
    const device = balloon.create({ log, ramSizeBytes: parameters.ramSizeBytes });
    return { device, control: serveBalloon(only(fds), device) };
  }),
  block: virtioMaker(BlockParameters, ({ name, parameters, fds, log }) => {
    const { formats, readOnly, ...own } = parameters;
    const disk = diskOfChain(fds.slice(0, formats.length), formats, readOnly);
    const device = block.create({ disk, log, name, ...own });
    return { device, control: serveDisk(only(fds.slice(formats.length)), device) };
  }),
  console: virtioMaker(ConsoleParameters, makeConsole),
  fs: virtioMaker(FsParameters, ({ name, parameters, fds }) => ({
    device: fs.create({ ...parameters, ...openSharedDir(fds), name }),
  })),
  serial: makeSerial,
  i8042: makeI8042,
  cmos: makeCmos,
  vsock: virtioMaker(VsockParameters, ({ parameters: { cid }, fds }) => {
    const [listener, main] = fds;
    assert(listener !== undefined && main !== undefined && fds.length === 2, 'a listening socket and the way to main');
    const timeouts = { sendMs: CONNECT_TIMEOUT_MS, receiveMs: CONNECT_TIMEOUT_MS };
    const host = new UnixHostSockets(listener, VsockConnect.client(main, timeouts));
    return { device: vsock.create({ cid, host, hostFds: host.keepFds() }) };
  }),
  input: virtioMaker(InputParameters, ({ name, parameters: { kind, index, size }, fds, log }) => {
    const source = new SocketSource(only(fds));
    return { device: input.create({ name, table: inputTable(kind, index, size), source, log }) };
  }),
  pmem: virtioMaker(PmemParameters, ({ name, parameters, fds, log }) => {
    // The lock is main's.
    const file = fds.length === 0 ? {} : { file: new RawDisk(only(fds), { readOnly: true, lock: false }) };
    return { device: pmem.create({ ...parameters, ...file, name, log }) };
  }),
  net: virtioMaker(NetParameters, ({ name, parameters, fds, log }) => {
    const backends =
      parameters.backend === 'tap' ? fds.map((fd) => new TapBackend(fd)) : [new StreamBackend(only(fds))];
    return { device: net.create({ backends, log, name, mac: parameters.mac }) };
  }),
};

function serveDisk(socket: Fd, device: Block): ProtocolServer {
  return DiskControl.server(socket, { resize: ({ sizeBytes }) => device.resize(sizeBytes) });
}

function serveBalloon(socket: Fd, device: Balloon): ProtocolServer {
  return BalloonControl.server(socket, {
    adjust: ({ sizeBytes }) => device.adjust(sizeBytes),
    state: () => device.state(),
  });
}
