/** The numbers of the specification as Linux's headers have them. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  BlockConfig,
  BlockFeature,
  ID_BYTES,
  RequestHeader,
  RequestStatus,
  RequestType,
  Segment,
} from '#devices/virtio/block/constants.ts';
import { ConsoleConfig, ConsoleFeature, ControlEvent, ControlMessage } from '#devices/virtio/console/constants.ts';
import { DeviceType, Feature, NO_VECTOR, Status } from '#devices/virtio/constants.ts';
import {
  ControlAck,
  ControlGuestOffloads,
  ControlHeader,
  ControlMq,
  GsoType,
  HEADER_BYTES,
  HeaderFlag,
  LINK_UP,
  NetConfigSpace,
  NetFeature,
  PacketHeader,
} from '#devices/virtio/net/constants.ts';
import {
  ALIGNMENT,
  AVAILABLE,
  availableEventOffset,
  DESCRIPTOR,
  DescriptorFlag,
  USED,
  usedEventOffset,
} from '#devices/virtio/queue/ring-layout.ts';
import { CommonConfig, ISR } from '#devices/virtio/transport/common-config.ts';
import {
  GUEST_CID,
  HOST_CID,
  Operation,
  PORT_ANY,
  ShutdownFlag,
  TYPE_STREAM,
  VsockConfig,
  VsockHeader,
} from '#devices/virtio/vsock/constants.ts';
import { TapFlag, TapOffload, TunRequest } from '#sys/tap.ts';

const HEADERS = [
  'linux/vm_sockets.h',
  ...['blk', 'config', 'console', 'ids', 'net', 'pci', 'ring', 'vsock'].map((name) => `linux/virtio_${name}.h`),
  'linux/if_tun.h',
];
const bit = (feature: bigint): number => feature.toString(2).length - 1;
const offset = (layout: { readonly fields: Readonly<Record<string, { readonly offset: number }>> }, name: string) =>
  layout.fields[name]?.offset ?? -1;

/** A C expression and what we have for it. */
const EXPECTED: Readonly<Record<string, number>> = {
  VIRTIO_ID_BLOCK: DeviceType.BLOCK,
  VIRTIO_ID_CONSOLE: DeviceType.CONSOLE,
  VIRTIO_ID_RNG: DeviceType.ENTROPY,
  VIRTIO_CONFIG_S_ACKNOWLEDGE: Status.ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER: Status.DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK: Status.DRIVER_OK,
  VIRTIO_CONFIG_S_FEATURES_OK: Status.FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET: Status.NEEDS_RESET,
  VIRTIO_CONFIG_S_FAILED: Status.FAILED,
  VIRTIO_F_VERSION_1: bit(Feature.VERSION_1),
  VIRTIO_RING_F_INDIRECT_DESC: bit(Feature.RING_INDIRECT_DESC),
  VIRTIO_RING_F_EVENT_IDX: bit(Feature.RING_EVENT_IDX),
  VIRTIO_MSI_NO_VECTOR: NO_VECTOR,
  VIRTIO_PCI_ISR_CONFIG: ISR.CONFIG,
  'sizeof(struct virtio_pci_common_cfg)': CommonConfig.size,
  'offsetof(struct virtio_pci_common_cfg, guest_feature)': offset(CommonConfig, 'driverFeature'),
  'offsetof(struct virtio_pci_common_cfg, msix_config)': offset(CommonConfig, 'msixConfig'),
  'offsetof(struct virtio_pci_common_cfg, device_status)': offset(CommonConfig, 'deviceStatus'),
  'offsetof(struct virtio_pci_common_cfg, queue_select)': offset(CommonConfig, 'queueSelect'),
  'offsetof(struct virtio_pci_common_cfg, queue_notify_off)': offset(CommonConfig, 'queueNotifyOff'),
  'offsetof(struct virtio_pci_common_cfg, queue_desc_lo)': offset(CommonConfig, 'queueDesc'),
  'offsetof(struct virtio_pci_common_cfg, queue_avail_lo)': offset(CommonConfig, 'queueDriver'),
  'offsetof(struct virtio_pci_common_cfg, queue_used_lo)': offset(CommonConfig, 'queueDevice'),
  VRING_DESC_F_NEXT: DescriptorFlag.NEXT,
  VRING_DESC_F_WRITE: DescriptorFlag.WRITE,
  VRING_DESC_F_INDIRECT: DescriptorFlag.INDIRECT,
  VRING_AVAIL_F_NO_INTERRUPT: AVAILABLE.NO_INTERRUPT,
  VRING_DESC_ALIGN_SIZE: ALIGNMENT.DESCRIPTORS,
  VRING_AVAIL_ALIGN_SIZE: ALIGNMENT.AVAILABLE,
  VRING_USED_ALIGN_SIZE: ALIGNMENT.USED,
  'sizeof(struct vring_desc)': DESCRIPTOR.SIZE_BYTES,
  'offsetof(struct vring_desc, len)': DESCRIPTOR.LENGTH,
  'offsetof(struct vring_desc, flags)': DESCRIPTOR.FLAGS,
  'offsetof(struct vring_desc, next)': DESCRIPTOR.NEXT,
  'offsetof(struct vring_avail, idx)': AVAILABLE.INDEX,
  'offsetof(struct vring_avail, ring)': AVAILABLE.RING,
  'offsetof(struct vring_avail, ring[8])': usedEventOffset(8),
  'offsetof(struct vring_used, idx)': USED.INDEX,
  'offsetof(struct vring_used, ring)': USED.RING,
  'offsetof(struct vring_used, ring[8])': availableEventOffset(8),
  'sizeof(struct vring_used_elem)': USED.ENTRY_BYTES,
  'offsetof(struct vring_used_elem, len)': USED.LENGTH,
  VIRTIO_BLK_F_SEG_MAX: bit(BlockFeature.SEG_MAX),
  VIRTIO_BLK_F_RO: bit(BlockFeature.RO),
  VIRTIO_BLK_F_BLK_SIZE: bit(BlockFeature.BLK_SIZE),
  VIRTIO_BLK_F_FLUSH: bit(BlockFeature.FLUSH),
  VIRTIO_BLK_F_MQ: bit(BlockFeature.MQ),
  VIRTIO_BLK_F_DISCARD: bit(BlockFeature.DISCARD),
  VIRTIO_BLK_F_WRITE_ZEROES: bit(BlockFeature.WRITE_ZEROES),
  VIRTIO_BLK_T_IN: RequestType.IN,
  VIRTIO_BLK_T_OUT: RequestType.OUT,
  VIRTIO_BLK_T_FLUSH: RequestType.FLUSH,
  VIRTIO_BLK_T_GET_ID: RequestType.GET_ID,
  VIRTIO_BLK_T_DISCARD: RequestType.DISCARD,
  VIRTIO_BLK_T_WRITE_ZEROES: RequestType.WRITE_ZEROES,
  VIRTIO_BLK_ID_BYTES: ID_BYTES,
  VIRTIO_BLK_S_OK: RequestStatus.OK,
  VIRTIO_BLK_S_IOERR: RequestStatus.IOERR,
  VIRTIO_BLK_S_UNSUPP: RequestStatus.UNSUPP,
  'sizeof(struct virtio_blk_outhdr)': RequestHeader.size,
  'sizeof(struct virtio_blk_discard_write_zeroes)': Segment.size,
  'offsetof(struct virtio_blk_config, seg_max)': offset(BlockConfig, 'segMax'),
  'offsetof(struct virtio_blk_config, blk_size)': offset(BlockConfig, 'blkSize'),
  'offsetof(struct virtio_blk_config, num_queues)': offset(BlockConfig, 'numQueues'),
  'offsetof(struct virtio_blk_config, max_discard_sectors)': offset(BlockConfig, 'maxDiscardSectors'),
  'offsetof(struct virtio_blk_config, max_discard_seg)': offset(BlockConfig, 'maxDiscardSeg'),
  'offsetof(struct virtio_blk_config, discard_sector_alignment)': offset(BlockConfig, 'discardSectorAlignment'),
  'offsetof(struct virtio_blk_config, max_write_zeroes_sectors)': offset(BlockConfig, 'maxWriteZeroesSectors'),
  'offsetof(struct virtio_blk_config, max_write_zeroes_seg)': offset(BlockConfig, 'maxWriteZeroesSeg'),
  'offsetof(struct virtio_blk_config, write_zeroes_may_unmap)': offset(BlockConfig, 'writeZeroesMayUnmap'),
  VIRTIO_CONSOLE_F_SIZE: bit(ConsoleFeature.SIZE),
  VIRTIO_CONSOLE_F_MULTIPORT: bit(ConsoleFeature.MULTIPORT),
  VIRTIO_CONSOLE_F_EMERG_WRITE: bit(ConsoleFeature.EMERG_WRITE),
  VIRTIO_CONSOLE_DEVICE_READY: ControlEvent.DEVICE_READY,
  VIRTIO_CONSOLE_PORT_ADD: ControlEvent.PORT_ADD,
  VIRTIO_CONSOLE_PORT_REMOVE: ControlEvent.PORT_REMOVE,
  VIRTIO_CONSOLE_PORT_READY: ControlEvent.PORT_READY,
  VIRTIO_CONSOLE_CONSOLE_PORT: ControlEvent.CONSOLE_PORT,
  VIRTIO_CONSOLE_RESIZE: ControlEvent.RESIZE,
  VIRTIO_CONSOLE_PORT_OPEN: ControlEvent.PORT_OPEN,
  VIRTIO_CONSOLE_PORT_NAME: ControlEvent.PORT_NAME,
  'sizeof(struct virtio_console_control)': ControlMessage.size,
  'offsetof(struct virtio_console_control, event)': offset(ControlMessage, 'event'),
  'sizeof(struct virtio_console_config)': ConsoleConfig.size,
  'offsetof(struct virtio_console_config, max_nr_ports)': offset(ConsoleConfig, 'maxNrPorts'),
  'offsetof(struct virtio_console_config, emerg_wr)': offset(ConsoleConfig, 'emergWr'),
  VIRTIO_ID_VSOCK: DeviceType.VSOCK,
  'sizeof(struct virtio_vsock_config)': VsockConfig.size,
  'sizeof(struct virtio_vsock_hdr)': VsockHeader.size,
  'offsetof(struct virtio_vsock_hdr, src_port)': offset(VsockHeader, 'srcPort'),
  'offsetof(struct virtio_vsock_hdr, len)': offset(VsockHeader, 'len'),
  'offsetof(struct virtio_vsock_hdr, op)': offset(VsockHeader, 'op'),
  'offsetof(struct virtio_vsock_hdr, buf_alloc)': offset(VsockHeader, 'bufAlloc'),
  VIRTIO_VSOCK_TYPE_STREAM: TYPE_STREAM,
  VIRTIO_VSOCK_OP_REQUEST: Operation.REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE: Operation.RESPONSE,
  VIRTIO_VSOCK_OP_RST: Operation.RST,
  VIRTIO_VSOCK_OP_SHUTDOWN: Operation.SHUTDOWN,
  VIRTIO_VSOCK_OP_RW: Operation.RW,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE: Operation.CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_CREDIT_REQUEST: Operation.CREDIT_REQUEST,
  VIRTIO_VSOCK_SHUTDOWN_RCV: ShutdownFlag.RECEIVE,
  VIRTIO_VSOCK_SHUTDOWN_SEND: ShutdownFlag.SEND,
  VMADDR_CID_HOST: HOST_CID,
  'VMADDR_CID_HOST + 1': GUEST_CID.min,
  'VMADDR_CID_ANY - 1': GUEST_CID.max,
  VMADDR_PORT_ANY: PORT_ANY,
  VIRTIO_NET_F_CSUM: bit(NetFeature.CSUM),
  VIRTIO_NET_F_GUEST_CSUM: bit(NetFeature.GUEST_CSUM),
  VIRTIO_NET_F_MAC: bit(NetFeature.MAC),
  VIRTIO_NET_F_GUEST_TSO4: bit(NetFeature.GUEST_TSO4),
  VIRTIO_NET_F_GUEST_TSO6: bit(NetFeature.GUEST_TSO6),
  VIRTIO_NET_F_GUEST_ECN: bit(NetFeature.GUEST_ECN),
  VIRTIO_NET_F_GUEST_UFO: bit(NetFeature.GUEST_UFO),
  VIRTIO_NET_F_HOST_TSO4: bit(NetFeature.HOST_TSO4),
  VIRTIO_NET_F_HOST_TSO6: bit(NetFeature.HOST_TSO6),
  VIRTIO_NET_F_HOST_ECN: bit(NetFeature.HOST_ECN),
  VIRTIO_NET_F_HOST_UFO: bit(NetFeature.HOST_UFO),
  VIRTIO_NET_F_MRG_RXBUF: bit(NetFeature.MRG_RXBUF),
  VIRTIO_NET_F_STATUS: bit(NetFeature.STATUS),
  VIRTIO_NET_F_CTRL_VQ: bit(NetFeature.CTRL_VQ),
  VIRTIO_NET_F_CTRL_GUEST_OFFLOADS: bit(NetFeature.CTRL_GUEST_OFFLOADS),
  VIRTIO_NET_F_MQ: bit(NetFeature.MQ),
  VIRTIO_NET_OK: ControlAck.OK,
  VIRTIO_NET_ERR: ControlAck.ERR,
  VIRTIO_NET_CTRL_MQ: ControlMq.CLASS,
  VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET: ControlMq.VQ_PAIRS_SET,
  VIRTIO_NET_CTRL_GUEST_OFFLOADS: ControlGuestOffloads.CLASS,
  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET: ControlGuestOffloads.SET,
  'sizeof(struct virtio_net_ctrl_hdr)': ControlHeader.size,
  'offsetof(struct virtio_net_config, max_virtqueue_pairs)': offset(NetConfigSpace, 'maxVirtqueuePairs'),
  VIRTIO_ID_NET: DeviceType.NETWORK,
  VIRTIO_NET_S_LINK_UP: LINK_UP,
  VIRTIO_NET_HDR_F_NEEDS_CSUM: HeaderFlag.NEEDS_CSUM,
  VIRTIO_NET_HDR_F_DATA_VALID: HeaderFlag.DATA_VALID,
  VIRTIO_NET_HDR_GSO_NONE: GsoType.NONE,
  VIRTIO_NET_HDR_GSO_TCPV4: GsoType.TCPV4,
  VIRTIO_NET_HDR_GSO_UDP: GsoType.UDP,
  VIRTIO_NET_HDR_GSO_TCPV6: GsoType.TCPV6,
  VIRTIO_NET_HDR_GSO_ECN: GsoType.ECN,
  'sizeof(struct virtio_net_hdr_v1)': HEADER_BYTES,
  'offsetof(struct virtio_net_hdr_v1, csum_start)': offset(PacketHeader, 'csumStart'),
  'offsetof(struct virtio_net_hdr_v1, num_buffers)': offset(PacketHeader, 'numBuffers'),
  'offsetof(struct virtio_net_config, status)': offset(NetConfigSpace, 'status'),
  TUNSETIFF: TunRequest.SETIFF,
  TUNSETOFFLOAD: TunRequest.SETOFFLOAD,
  TUNSETQUEUE: TunRequest.SETQUEUE,
  TUNGETIFF: TunRequest.GETIFF,
  TUNSETVNETHDRSZ: TunRequest.SETVNETHDRSZ,
  IFF_TAP: TapFlag.TAP,
  IFF_NO_PI: TapFlag.NO_PI,
  IFF_MULTI_QUEUE: TapFlag.MULTI_QUEUE,
  IFF_ATTACH_QUEUE: TapFlag.ATTACH_QUEUE,
  IFF_DETACH_QUEUE: TapFlag.DETACH_QUEUE,
  IFF_VNET_HDR: TapFlag.VNET_HDR,
  TUN_F_CSUM: TapOffload.CSUM,
  TUN_F_TSO4: TapOffload.TSO4,
  TUN_F_TSO6: TapOffload.TSO6,
  TUN_F_TSO_ECN: TapOffload.TSO_ECN,
  TUN_F_UFO: TapOffload.UFO,
};

const canCompile =
  spawnSync('cc', ['--version']).status === 0 && HEADERS.every((header) => existsSync(join('/usr/include', header)));

test('numbers are those of Linux', {
  skip: canCompile ? false : 'there is no C compiler (cc) with Linux’s headers on this machine',
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-virtio-'));
  try {
    // vm_sockets.h needs sys/socket.h before it.
    const includes = ['stddef.h', 'stdio.h', 'sys/ioctl.h', 'sys/socket.h', ...HEADERS]
      .map((header) => `#include <${header}>`)
      .join('\n');
    const prints = Object.keys(EXPECTED).map((expression) => `printf("%lld\\n", (long long)(${expression}));`);
    writeFileSync(join(folder, 'a.c'), `${includes}\nint main(void) { ${prints.join('\n')} }`);
    execFileSync('cc', ['-o', join(folder, 'a'), join(folder, 'a.c')]);
    const values = execFileSync(join(folder, 'a')).toString().trim().split('\n').map(Number);
    const theirs = Object.fromEntries(Object.keys(EXPECTED).map((expression, at) => [expression, values[at]]));
    assert.deepEqual(EXPECTED, theirs);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
