import assert from 'node:assert/strict';
import { test } from 'node:test';
import { busyboxImage, PROMPT, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const BOOT = { timeoutMs: 120_000 };
const COMMAND = { timeoutMs: 20_000 };
const SYSFS = '/sys/devices/system/clocksource/clocksource0';
/** Kernels set their clock from the RTC, to half a second. */
const WALL_LIMIT_S = 2;
const SLEEP_S = 3;

for (const { suite, release } of [
  { suite: 'bookworm', release: /\n6\.1\.\d+-\d+-cloud-amd64\r\n/ },
  { suite: 'trixie', release: /\n6\.12\.\d+\+deb13-cloud-amd64\r\n/ },
] as const) {
  test(`Linux of ${suite} boots to a shell, has kvm-clock and a TSC, and both keep the host's time`, {
    skip: skipWithoutApt,
  }, async () => {
    await using vm = new TestVm({ kernel: await vmlinuz(suite), initrds: [await busyboxImage()] });
    await vm.waitFor(PROMPT, BOOT);
    vm.send('uname -r\r');
    await vm.waitFor(release, COMMAND);
    vm.send(`cat ${SYSFS}/available_clocksource ${SYSFS}/current_clocksource; dmesg | grep -ci unstable\r`);
    // An invariant TSC is what Linux prefers.
    await vm.waitFor(/\ntsc kvm-clock acpi_pm \r\ntsc\r\n0\r\n/, COMMAND);
    for (const source of ['kvm-clock', 'tsc']) {
      vm.send(`echo ${source} >${SYSFS}/current_clocksource; cat ${SYSFS}/current_clocksource\r`);
      await vm.waitFor(new RegExp(`\\n${source}\\r\\n`), COMMAND);
      const started = performance.now();
      vm.send(`a=$(cat /proc/uptime); sleep ${SLEEP_S}; echo "at $a" $(cat /proc/uptime) $(date +%s)\r`);
      const [, from, to, date] = await vm.waitFor(/\nat ([\d.]+) [\d.]+ ([\d.]+) [\d.]+ (\d+)\r\n/, COMMAND);
      const hostS = (performance.now() - started) / 1000;
      const guestS = Number(to) - Number(from);
      assert.ok(guestS >= SLEEP_S - 0.02 && guestS <= hostS, `${source}: ${guestS} s in the guest, ${hostS} s outside`);
      const behindS = Date.now() / 1000 - Number(date);
      assert.ok(Math.abs(behindS) < WALL_LIMIT_S, `${source}: the guest's date is ${behindS} s behind`);
    }
  });
}
