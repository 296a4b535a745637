import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KvmAnswers } from '#vmm/select-hypervisor.ts';
import { diagnose, type HostFacts } from './diagnosis.ts';

const answers = { apiVersion: 12, missingCapabilities: [], vcpusMax: 1024 };
const good: HostFacts = {
  node: '26.10.0',
  requiredNodeMajor: 24,
  platform: 'linux',
  arch: 'x64',
  ffi: { worked: true, value: 'koffi loads' },
  memfd: { worked: true, value: 'sealed memfd' },
  hypervisor: { kvmDevice: { opens: true, answers }, hardware: 'svm' },
  guests: { software: { worked: true, value: '3 ms' }, kvm: { worked: true, value: '2 ms' } },
  root: false,
  proc: {
    userNamespaceLink: true,
    unprivilegedUsernsClone: '1\n',
    maxUserNamespaces: '96365\n',
    apparmorRestrictUserns: '0\n',
    seccompActions: 'kill_process kill_thread trap errno user_notif trace log allow\n',
  },
  stty: { worked: true, value: 'stty' },
};

const finding = (name: string, changes: Partial<HostFacts>) => {
  const found = diagnose({ ...good, ...changes }).findings.find((candidate) => candidate.name === name);
  return found && `${found.status}: ${found.detail}`;
};
const proc = (changes: Partial<HostFacts['proc']>) => ({ proc: { ...good.proc, ...changes } });
const device = (changes: Partial<HostFacts['hypervisor']>) => ({ hypervisor: { ...good.hypervisor, ...changes } });
const kvm = (said: KvmAnswers | { error: string }) => device({ kvmDevice: { opens: true, answers: said } });

describe('diagnose', () => {
  test('finds nothing to note on a good host, and takes KVM', () => {
    const { findings, hypervisor, usable } = diagnose(good);
    assert.deepEqual(
      findings.filter(({ status }) => status !== 'ok'),
      [],
    );
    assert.deepEqual(hypervisor, { name: 'kvm', reason: '/dev/kvm opens and the processor has svm' });
    assert.equal(usable, true);
  });

  test('says nothing of a guest that was not tried', () => {
    assert.equal(finding('a guest on kvm', { guests: { software: good.guests.software, kvm: undefined } }), undefined);
  });

  test('a host without kvm is usable with the software CPU', () => {
    const { hypervisor, usable } = diagnose({
      ...good,
      ...device({ kvmDevice: { opens: false, code: 'ENOENT' }, hardware: undefined }),
    });
    assert.deepEqual(hypervisor, { name: 'software', reason: 'no /dev/kvm' });
    assert.equal(usable, true);
  });

  const failures: readonly [string, Partial<HostFacts>][] = [
    ['Node.js', { node: '20.20.2' }],
    ['system', { arch: 'arm64' }],
    ['system', { platform: 'darwin' }],
    ['a guest on software', { guests: { ...good.guests, software: { worked: false, error: 'its guest stopped' } } }],
    ['system calls', { ffi: { worked: false, error: 'no prebuilt binary' } }],
    ['guest memory', { memfd: { worked: false, error: 'EPERM' } }],
  ];
  for (const [name, changes] of failures) {
    test(`${JSON.stringify(changes)} makes the host unusable`, () => {
      assert.match(finding(name, changes) ?? '', /^fail: /);
      assert.equal(diagnose({ ...good, ...changes }).usable, false);
    });
  }

  const notes: readonly [string, string, Partial<HostFacts>, string][] = [
    ['an absent kvm', '/dev/kvm', device({ kvmDevice: { opens: false, code: 'ENOENT' } }), 'note: does not exist'],
    [
      'a locked kvm',
      '/dev/kvm',
      device({ kvmDevice: { opens: false, code: 'EACCES' } }),
      'note: does not open: EACCES',
    ],
    [
      'another API version',
      '/dev/kvm',
      kvm({ ...answers, apiVersion: 11 }),
      'note: opens, API version 11; 12 is needed',
    ],
    [
      'an old kvm',
      '/dev/kvm',
      kvm({ ...answers, missingCapabilities: ['KVM_CAP_IRQFD'] }),
      'note: opens, API version 12; without KVM_CAP_IRQFD',
    ],
    ['a kvm that does not answer', '/dev/kvm', kvm({ error: 'ENOTTY' }), 'note: opens, and does not answer: ENOTTY'],
    [
      'a kvm whose guest does not run',
      'a guest on kvm',
      { guests: { ...good.guests, kvm: { worked: false, error: 'its guest stopped' } } },
      'note: its guest stopped',
    ],
    [
      'a kvm without hardware',
      'virtualization hardware',
      device({ hardware: undefined }),
      'note: the processor shows neither vmx nor svm; an unmodified kernel hangs under this /dev/kvm',
    ],
    [
      'a kernel without user namespaces',
      'user namespaces',
      proc({ userNamespaceLink: false }),
      'note: not in this kernel',
    ],
    [
      'user namespaces switched off',
      'user namespaces',
      proc({ maxUserNamespaces: '0\n' }),
      'note: off: user.max_user_namespaces is 0',
    ],
    [
      "Debian's switch",
      'user namespaces',
      proc({ unprivilegedUsernsClone: '0\n' }),
      'note: not for ordinary users: kernel.unprivileged_userns_clone is 0',
    ],
    [
      "Ubuntu's switch",
      'user namespaces',
      proc({ apparmorRestrictUserns: '1\n' }),
      'note: not for ordinary users: kernel.apparmor_restrict_unprivileged_userns is 1',
    ],
    [
      "Debian's switch for root",
      'user namespaces',
      { ...proc({ unprivilegedUsernsClone: '0' }), root: true },
      'ok: available to root (kernel.unprivileged_userns_clone is 0)',
    ],
    [
      'a mainline kernel without those switches',
      'user namespaces',
      proc({ unprivilegedUsernsClone: undefined, apparmorRestrictUserns: undefined }),
      'ok: available',
    ],
    ['no seccomp', 'seccomp filters', proc({ seccompActions: undefined }), 'note: not in this kernel'],
    [
      'an old seccomp',
      'seccomp filters',
      proc({ seccompActions: 'kill trap errno trace allow' }),
      'note: without kill_process, log',
    ],
    [
      'no stty',
      'terminal guard',
      { stty: { worked: false, error: 'ENOENT' } },
      'note: after a crash the terminal stays raw: ENOENT',
    ],
  ];
  for (const [name, row, changes, text] of notes) {
    test(`${name} is said and does not make the host unusable`, () => {
      assert.equal(finding(row, changes), text);
      assert.equal(diagnose({ ...good, ...changes }).usable, true);
    });
  }
});
