import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type HypervisorFacts, type KvmAnswers, selectHypervisor, virtualizationFlag } from './select-hypervisor.ts';

const answers = { apiVersion: 12, missingCapabilities: [], vcpusMax: 1024 };
const able: HypervisorFacts = { kvmDevice: { opens: true, answers }, hardware: 'vmx' };
const answering = (changes: Partial<KvmAnswers> | { error: string }): HypervisorFacts => ({
  ...able,
  kvmDevice: { opens: true, answers: 'error' in changes ? changes : { ...answers, ...changes } },
});
const without = (code: string): HypervisorFacts => ({ ...able, kvmDevice: { opens: false, code } });

describe('selectHypervisor auto', () => {
  test('takes kvm where the device answers as it should and the hardware is there', () => {
    assert.deepEqual(selectHypervisor('auto', able), {
      hypervisor: 'kvm',
      reason: '/dev/kvm opens and the processor has vmx',
    });
  });

  const software: readonly [string, HypervisorFacts, RegExp][] = [
    ['there is no /dev/kvm', without('ENOENT'), /^no \/dev\/kvm$/],
    ['/dev/kvm may not be opened', without('EACCES'), /^no permission to open \/dev\/kvm$/],
    ['/dev/kvm has no driver', without('ENODEV'), /^\/dev\/kvm does not open: ENODEV$/],
    ['/dev/kvm is something else', answering({ error: 'ENOTTY' }), /^\/dev\/kvm does not answer: ENOTTY$/],
    [
      'the interface has another version',
      answering({ apiVersion: 11 }),
      /^\/dev\/kvm has version 11 .*; 12 is needed$/,
    ],
    [
      'KVM is too old',
      answering({ missingCapabilities: ['KVM_CAP_IRQFD', 'KVM_CAP_PIT2'] }),
      /^KVM is without KVM_CAP_IRQFD, KVM_CAP_PIT2$/,
    ],
    ['the processor shows neither vmx nor svm', { ...able, hardware: undefined }, /no hardware behind it/],
  ];
  for (const [name, facts, reason] of software) {
    test(`takes the software CPU and says so when ${name}`, () => {
      const decision = selectHypervisor('auto', facts);
      assert.ok('hypervisor' in decision);
      assert.equal(decision.hypervisor, 'software');
      assert.match(decision.reason, reason);
    });
  }
});

describe('selectHypervisor with a wish', () => {
  test('software is granted even where kvm would run', () => {
    const decision = selectHypervisor('software', able);
    assert.deepEqual(decision, { hypervisor: 'software', reason: 'asked for with --hypervisor software' });
  });

  test('kvm is granted where it runs', () => {
    assert.deepEqual(selectHypervisor('kvm', able), {
      hypervisor: 'kvm',
      reason: 'asked for with --hypervisor kvm',
    });
  });

  test('kvm on a host without it names the obstacle and does not fall back', () => {
    assert.deepEqual(selectHypervisor('kvm', without('ENOENT')), { obstacle: 'no /dev/kvm' });
  });
});

describe('virtualizationFlag', () => {
  test('finds vmx and svm as whole words of the flags line only', () => {
    assert.equal(virtualizationFlag('model name\t: vmx\nflags\t\t: fpu vmx sse\n'), 'vmx');
    assert.equal(virtualizationFlag('flags\t\t: fpu svm\nbugs\t\t: none\n'), 'svm');
    assert.equal(virtualizationFlag('vmx flags\t: ept\nflags\t\t: fpu svm_lock hypervisor\n'), undefined);
    assert.equal(virtualizationFlag(''), undefined);
  });
});
