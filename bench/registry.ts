import type { Bench } from './bench.ts';

const loaders: Readonly<Record<string, () => Promise<{ readonly default: Bench }>>> = {
  'block-guest': () => import('./block-guest.ts'),
  'block-io': () => import('./block-io.ts'),
  boot: () => import('./boot.ts'),
  cpu: () => import('./cpu.ts'),
  fork: () => import('./fork.ts'),
  interpreter: () => import('./interpreter.ts'),
  'kvm-exits': () => import('./kvm-exits.ts'),
  'msg-socket': () => import('./msg-socket.ts'),
  'net-guest': () => import('./net-guest.ts'),
  proxy: () => import('./proxy.ts'),
  'serial-guest': () => import('./serial-guest.ts'),
  smp: () => import('./smp.ts'),
  start: () => import('./start.ts'),
  'virtio-block': () => import('./virtio-block.ts'),
  'virtio-net': () => import('./virtio-net.ts'),
  'virtio-queue': () => import('./virtio-queue.ts'),
  'virtio-vsock': () => import('./virtio-vsock.ts'),
};

export function benchNames(): string[] {
  return Object.keys(loaders);
}

export async function loadBench(name: string): Promise<Bench | undefined> {
  return Object.hasOwn(loaders, name) ? (await loaders[name]?.())?.default : undefined;
}
