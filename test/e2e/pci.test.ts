import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { busyboxImage, skipWithoutApt, vmlinuz } from './guest-files.ts';
import type { PciGuestOptions, PciGuestResult } from './pci-guest.ts';

const RUN_LIMIT_MS = 120_000;
const DEVICE = '/sys/bus/pci/devices/0000:00:03.0';
/** The addresses that the BARs of the test device are given: 64-bit, prefetchable 32-bit, ports. */
const MSIX_BAR = 0x1_0000_0000;
const MEMORY_BAR = 0xd000_0000;
/** A vector that Linux leaves to nobody: it says that it has come. */
const VECTOR = 0x60;

/** Reads the bus as Linux sees it, then uses the device as a driver would: memory decoding, BARs, MSI-X. */
const SCRIPT = `
echo "bus $(cut -f1-2 /proc/bus/pci/devices | tr '\\t\\n' ' ;')"
echo "resources $(cut -d' ' -f1-3 ${DEVICE}/resource | grep -v '^0x0* 0x0* 0x0*$' | tr '\\n' ';')"
echo "config $(hexdump -n 80 -v -e '1/4 "%08x "' ${DEVICE}/config)"
before=$(cat ${DEVICE}/irq)
echo 1 >${DEVICE}/enable
echo "irq $before $(cat ${DEVICE}/irq)"
printf '\\x06\\x00' | dd of=${DEVICE}/config bs=1 seek=4 conv=notrunc 2>/dev/null
devmem 0x${(MEMORY_BAR + 0x10).toString(16)} 32 0x12345678
echo "scratch $(devmem 0x${(MEMORY_BAR + 0x10).toString(16)} 32) $(devmem 0x${(MEMORY_BAR + 0x12).toString(16)} 16)"
table=$((${MSIX_BAR} + 0x2000))
devmem $table 32 0xfee00000
devmem $((table + 4)) 32 0
devmem $((table + 8)) 32 ${VECTOR}
printf '\\x00\\x80' | dd of=${DEVICE}/config bs=1 seek=$((0x46)) conv=notrunc 2>/dev/null
devmem ${MSIX_BAR} 32 1
echo "pending $(devmem $((${MSIX_BAR} + 0x3000)) 32)"
devmem $((table + 12)) 32 0
echo "pending $(devmem $((${MSIX_BAR} + 0x3000)) 32)"
devmem ${MSIX_BAR} 32 1
dmesg | grep -iE 'pci|mmconfig|mcfg|irq|acpi' | sed 's/^\\[[^]]*\\] //' | sed 's/^/dmesg: /'
`;

async function runGuest(options: Omit<PciGuestOptions, 'kernel' | 'initrds'>): Promise<PciGuestResult> {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-pci-'));
  try {
    const script = join(folder, 'script.cpio');
    writeScriptArchive(script, SCRIPT);
    const workerData: PciGuestOptions = {
      ...options,
      kernel: await vmlinuz(),
      initrds: [await busyboxImage(), script],
    };
    const worker = new Worker(new URL('./pci-guest.ts', import.meta.url), { workerData });
    try {
      const signal = AbortSignal.timeout(RUN_LIMIT_MS);
      const [result] = (await once(worker, 'message', { signal })) as [PciGuestResult];
      return result;
    } finally {
      await worker.terminate();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const COMPLAINT = /^dmesg: .*(pci|MMCONFIG|MCFG|ACPI|IRQ).*(error|fail|warn|bug:|conflict|can't|cannot|not reserved)/i;
/** What Linux says of every machine of ours, or because of the parameters of the test. */
const EXPECTED = /MMCONFIG is disabled, can't access extended|use "pci=nocrs" and report a bug/;

for (const { name, params, hasConfigIo, access } of [
  {
    name: 'both mechanisms',
    params: '',
    hasConfigIo: true,
    access: [/MMCONFIG at \[mem 0xf4000000-0xf7ffffff\] reserved/, /Using configuration type 1 for base access/],
  },
  {
    name: 'ports 0xcf8 and 0xcfc alone',
    params: 'pci=nommconf',
    hasConfigIo: true,
    access: [/Using configuration type 1 for base access/, /MMCONFIG is disabled/],
  },
  {
    name: 'the enhanced mechanism alone',
    params: '',
    hasConfigIo: false,
    access: [/MMCONFIG at \[mem 0xf4000000-0xf7ffffff\] reserved/],
  },
]) {
  test(`Linux finds the bus and uses a device on it by ${name}`, { skip: skipWithoutApt }, async () => {
    const { console, messages } = await runGuest({ params, hasConfigIo });
    const line = (start: string): string | undefined =>
      console
        .split(/\r?\n/)
        .find((text) => text.startsWith(`${start} `))
        ?.slice(start.length + 1);
    assert.equal(line('bus'), '0000 80861237;0018 1b365678;', console);
    assert.equal(
      line('resources'),
      [
        '0x0000000100000000 0x0000000100003fff 0x0000000000140204;',
        '0x00000000d0000000 0x00000000d0000fff 0x0000000000042208;',
        '0x000000000000c000 0x000000000000c01f 0x0000000000040101;',
      ].join(''),
    );
    const config = line('config')?.split(' ') ?? [];
    assert.deepEqual(config.slice(4, 8), ['00000004', '00000001', 'd0000008', '0000c001']);
    assert.deepEqual(config.slice(16, 20), ['00034409', '00020011', '00002000', '00003000']);
    // As the interrupt line register says, and as _PRT does once the device is enabled.
    assert.equal(line('irq'), '19 19');
    assert.equal(line('scratch'), '0x12345678 0x1234');
    // The kernel's own message about the vector that nobody has comes in between.
    assert.deepEqual(console.match(/^pending \w+/gm), ['pending 0x00000001', 'pending 0x00000000']);
    assert.deepEqual(messages, ['fee00000 60', 'fee00000 60']);
    assert.match(console, /dmesg: .*No irq handler for vector/);
    for (const pattern of access) assert.match(console, pattern);
    const complaints = console.split(/\r?\n/).filter((text) => COMPLAINT.test(text) && !EXPECTED.test(text));
    assert.deepEqual(complaints, []);
  });
}
