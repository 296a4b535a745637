/** A thread that kicks vCPU 0 each time it is asked, and tells when a kick did not end `run` within the limit. */
import { isMainThread, workerData } from 'node:worker_threads';
import { kvmHypervisor } from '#hypervisor/kvm/kvm-vm.ts';
import type { VmDescription } from '#hypervisor/vm.ts';
import { hostClock } from '#util/clock.ts';

/** Words: how many kicks are asked for, how many times `run` has returned, how many kicks were lost; -1 asked ends the thread. */
export const KICKER = { ASKED: 0, RETURNED: 1, LOST: 2, WORDS: 3 } as const;
export const KICKER_END = -1;

/** On a loaded machine a thread gets its turn late. */
const LIMIT_MS = 5000;

export interface KickerData {
  readonly vm: VmDescription;
  readonly words: Int32Array;
}

function kickWhenAsked({ vm: description, words }: KickerData): void {
  using vm = kvmHypervisor.attachVm(description, { clock: hostClock });
  for (let round = 1; ; round++) {
    while (Atomics.load(words, KICKER.ASKED) === round - 1) Atomics.wait(words, KICKER.ASKED, round - 1);
    if (Atomics.load(words, KICKER.ASKED) === KICKER_END) return;
    // From none to some microseconds after it was asked for: before, at and after the beginning of KVM_RUN.
    for (let turns = (round * 37) % 400; turns > 0; turns--) Atomics.load(words, KICKER.LOST);
    vm.kick(0);
    if (Atomics.wait(words, KICKER.RETURNED, round - 1, LIMIT_MS) === 'timed-out') {
      Atomics.add(words, KICKER.LOST, 1);
      vm.kick(0);
    }
  }
}

// The test itself imports the words.
if (!isMainThread) kickWhenAsked(workerData as KickerData);
