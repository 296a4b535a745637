/**
 * The small initramfs that goes before a root file system on a virtio disk: Debian's kernel for virtual machines has ext4
 * built in, and the drivers of the disk as modules. It mounts what `root=` names and hands over to that system's own init.
 */
import { createHash } from 'node:crypto';
import type { AptOptions } from './apt.ts';
import { cached } from './cache-folder.ts';
import { writeArchive } from './cpio.ts';
import { ImageTree } from './image-tree.ts';
import { busyboxProgram } from './initramfs.ts';
import { fetchKernel } from './kernel.ts';
import { type KernelModule, modulesInOrder } from './kernel-modules.ts';
import { fetchPackage, packageFolderName } from './packages.ts';

/** Drivers that the root disk needs; all others are loaded by udev from the disk. */
const MODULES = ['virtio_pci', 'virtio_blk'];
/** Of the archive: where a shell script for the guest may be, which then runs instead of a login. */
const SCRIPT_PATH = 'crosvm/script';
const SCRIPT_UNIT = 'crosvm-script.service';

/**
 * Runs the script when the system is up and the network, if there is one, has its address, and powers off. Nothing but the script
 * is to be seen: the terminal changes no line ends and echoes nothing, and the kernel's own last words are muted. `stty sane` waits until
 * the console has taken all output. The end is at once, without stopping each service: what was written is on the disk by `sync`.
 */
const UNIT_TEXT = `[Unit]
Description=Shell script from outside
After=multi-user.target
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate

[Service]
Type=oneshot
Environment=HOME=/root
WorkingDirectory=/root
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
ExecStartPre=/bin/sh -c 'udevadm settle; if [ -e /sys/class/net/eth0 ]; then ifup eth0; fi >/dev/null 2>&1'
ExecStart=/bin/sh -c 'stty -opost -echo </dev/console; /bin/sh /run/${SCRIPT_PATH}; sync; stty sane </dev/console; echo 0 >/proc/sys/kernel/printk'
`;

const init = (modules: readonly KernelModule[]): string => `#!/bin/busybox sh
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
${modules.map(({ name }) => `insmod /modules/${name}.ko`).join('\n')}

root=/dev/vda
mode=ro
for word in $(cat /proc/cmdline); do
  case $word in
    root=*) root=\${word#root=} ;;
    ro | rw) mode=$word ;;
  esac
done
umount /proc

# The driver makes its disks before insmod returns.
if ! mount -t ext4 -o $mode $root /root; then
  echo "crosvm-ts: '$root' cannot be mounted as the root file system"
  exec sh
fi
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /root/run
if [ -f /${SCRIPT_PATH} ]; then
  mkdir -p /root/run/crosvm /root/run/systemd/system/multi-user.target.wants
  cp /${SCRIPT_PATH} /root/run/crosvm/
  cp /${SCRIPT_UNIT} /root/run/systemd/system/
  ln -s ../${SCRIPT_UNIT} /root/run/systemd/system/multi-user.target.wants/
  ln -s /dev/null /root/run/systemd/system/serial-getty@ttyS0.service
fi
mount --move /dev /root/dev
exec switch_root /root /sbin/init
`;

/** Fetches what the image needs and returns its path in the cache. */
export async function buildDiskInitramfs(options: AptOptions): Promise<string> {
  const kernel = await fetchKernel(options);
  const busybox = await fetchPackage(options, 'busybox-static');
  const modules = modulesInOrder(kernel, MODULES);
  const parts = [init(modules), UNIT_TEXT, kernel.release, packageFolderName(busybox), modules];
  const digest = createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
  return await cached(options.cache, `disk-initramfs-${digest}.cpio`, (temporary) => {
    const tree = new ImageTree();
    for (const path of ['proc', 'root', 'crosvm']) tree.directory(path);
    tree.device('dev/console', [5, 1], 0o600);
    tree.hostFile('bin/busybox', busyboxProgram(busybox));
    for (const applet of APPLETS) tree.symlink(`bin/${applet}`, 'busybox');
    for (const { name, path } of modules) tree.hostFile(`modules/${name}.ko`, path);
    tree.file(SCRIPT_UNIT, UNIT_TEXT);
    tree.file('init', init(modules), 0o755);
    writeArchive(temporary, (writer) => tree.writeTo(writer));
  });
}

const APPLETS = ['sh', 'mount', 'umount', 'insmod', 'cat', 'cp', 'ln', 'mkdir', 'switch_root'];

/** An archive to go behind the initramfs, with a script that the guest runs instead of a login. The caller owns the file. */
export function writeDiskScript(path: string, script: string): void {
  const data = new TextEncoder().encode(script);
  writeArchive(path, (writer) => writer.add({ kind: 'file', path: SCRIPT_PATH, mode: 0o644, data }));
}
