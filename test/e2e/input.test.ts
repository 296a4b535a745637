/** A keyboard and a touch screen whose events come from sockets of the host, as programs of the guest read them; with the jail and without. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { EventType, SYN_REPORT } from '#devices/virtio/input/constants.ts';
import { eventBytes } from '#devices/virtio/testing/fake-input.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const MODULES = ['virtio_pci', 'virtio_input', 'evdev'];
const EVENTS = 6;
/** `struct input_event` on x86-64, linux/input.h: two 64-bit words of time, then what virtio has. */
const GUEST_EVENT_BYTES = 24;

const SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
until [ -e /dev/input/event1 ]; do sleep 0.1; done
for i in 0 1; do
  d=/sys/class/input/event$i/device
  echo "device$i $(cat $d/name) | $(cat $d/uniq) | $(cat $d/capabilities/ev) $(cat $d/capabilities/key) $(cat $d/capabilities/abs) $(cat $d/properties)"
done
head -c ${EVENTS * GUEST_EVENT_BYTES} /dev/input/event0 > /tmp/keys &
sleep 0.5
echo "reads"
wait
echo "keys $(hexdump -v -e '1/1 "%02x"' /tmp/keys)"
# LED_CAPSL is lit, as a program of the guest does it.
printf '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\21\\0\\1\\0\\1\\0\\0\\0' > /dev/input/event0
head -c ${3 * GUEST_EVENT_BYTES} /dev/input/event1 > /tmp/touches &
sleep 0.5
echo "waits"
wait
echo "touches $(hexdump -v -e '1/1 "%02x"' /tmp/touches)"
`;

/** Listens for the one connection that crosvm makes. */
async function listenAt(t: TestContext, path: string): Promise<{ readonly connected: Promise<Socket> }> {
  const server = createServer();
  t.after(() => server.close());
  server.listen(path);
  await once(server, 'listening');
  return { connected: once(server, 'connection').then(([socket]) => socket as Socket) };
}

/** Name, serial number, and the bits of types, keys, axes and properties. */
const DEVICES = {
  KEYBOARD:
    'Crosvm Virtio Keyboard 0 | virtio-keyboard-0 | 120003 40000 100040000800 e09effdf01cfffff fffffffffffffffe 0 0',
  TOUCH: 'Crosvm Virtio Touchscreen 1 | virtio-touchscreen-1 | b 400 0 0 0 0 0 3 2',
} as const;

/** What virtio has of the guest's events: all but their times. */
function eventsOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  const starts = Array.from({ length: bytes.length / GUEST_EVENT_BYTES }, (_, index) => index * GUEST_EVENT_BYTES);
  return starts.map((start) => bytes.toString('hex', start + 16, start + GUEST_EVENT_BYTES)).join('');
}

const report = eventBytes(EventType.SYN, SYN_REPORT, 0);

describe('virtio-input', { skip: skipWithoutApt }, () => {
  for (const { name, options } of [
    { name: 'in their jails', options: [] },
    { name: 'without a jail', options: ['--disable-sandbox'] },
  ]) {
    test(`events reach /dev/input, and a light the socket, ${name}`, { timeout: 180_000 }, async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'crosvm-input-'));
      t.after(() => rmSync(folder, { recursive: true, force: true }));
      const archive = join(folder, 'script.cpio');
      writeScriptArchive(archive, SCRIPT, { programs: await kernelModules(MODULES) });
      const [keyboard, touch] = [join(folder, 'keyboard'), join(folder, 'touch')];
      const [fromKeyboard, fromTouch] = [await listenAt(t, keyboard), await listenAt(t, touch)];
      await using vm = new TestVm({
        kernel: await vmlinuz(),
        initrds: [await busyboxImage(), archive],
        options: [`--input=keyboard[path=${keyboard}]`, `--single-touch=${touch}:640:480`, ...options],
      });
      const output = (): string => `${vm.console.slice(-3000)}\n${vm.errors}`;
      const keys = await fromKeyboard.connected;
      const touches = await fromTouch.connected;
      t.after(() => {
        keys.destroy();
        touches.destroy();
      });
      await vm.waitFor(/^reads/m, { timeoutMs: 120_000 });
      const key = (code: number, value: number): Uint8Array => eventBytes(EventType.KEY, code, value);
      const bytes = Buffer.concat([key(30, 1), report, key(30, 0), report, key(42, 1), report]);
      // In parts that are no events.
      keys.write(bytes.subarray(0, 5));
      keys.write(bytes.subarray(5));
      const [light] = (await once(keys, 'data')) as [Buffer];
      keys.end();
      await vm.waitFor(/^waits/m, { timeoutMs: 60_000 });
      const touched = Buffer.concat([eventBytes(EventType.ABS, 0, 320), eventBytes(EventType.ABS, 1, 200), report]);
      touches.write(touched);
      assert.deepEqual(await vm.waitForExit({ timeoutMs: 60_000 }), { status: 0, signal: null }, output());
      const said = (word: string): string | undefined => new RegExp(`^${word} (.*?)\\s*$`, 'm').exec(vm.console)?.[1];
      const { KEYBOARD, TOUCH } = DEVICES;
      assert.deepEqual([said('device0'), said('device1')], [KEYBOARD, TOUCH], output());
      assert.equal(eventsOf(said('keys') ?? ''), bytes.toString('hex'), output());
      assert.equal(eventsOf(said('touches') ?? ''), touched.toString('hex'), output());
      assert.deepEqual([...light.subarray(0, 8)], [...eventBytes(EventType.LED, 1, 1)]);
      assert.match(vm.errors, /input0: no more events come: the connection was closed/);
    });
  }
});
