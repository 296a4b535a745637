/** hold-kvm.ts PATH: keeps a virtual machine that runs nothing, makes an empty file when it has it, and sleeps until it is killed. */
import { writeFileSync } from 'node:fs';
import { KvmDevice } from '#hypervisor/kvm/kvm-device.ts';

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error('usage: hold-kvm.ts PATH');
using device = KvmDevice.open();
using _vm = device.createVm();
writeFileSync(path, '');
// Nothing but a timer keeps a process of Node alive that waits for a signal.
setInterval(() => {}, 2 ** 30);
await new Promise(() => {});
