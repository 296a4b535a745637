import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostCpusOf } from '#vmm/cpu-affinity.ts';
import { parseCpuAffinity } from './cpu-options.ts';

test('one set of processors is that of all vCPUs', () => {
  const { affinities, problems } = parseCpuAffinity('5,0,1-3,2');
  assert.deepEqual(problems, []);
  assert.deepEqual(affinities, [{ hostCpus: [0, 1, 2, 3, 5] }]);
  assert.deepEqual(hostCpusOf(affinities, 7), [0, 1, 2, 3, 5]);
});

test('vCPUs may have sets of their own, and those that have none run anywhere', () => {
  const { affinities, problems } = parseCpuAffinity('0=0:2=1-2,4');
  assert.deepEqual(problems, []);
  assert.deepEqual(
    [0, 1, 2].map((vcpu) => hostCpusOf(affinities, vcpu)),
    [[0], undefined, [1, 2, 4]],
  );
});

test('what is no set is said', () => {
  const problemsOf = (text: string): readonly string[] => parseCpuAffinity(text).problems;
  const form = 'must be processors and ranges of them, such as 0,1-3,5';
  for (const text of ['', ',', '1,', 'a', '-1', '1-', '0x1', '1 2']) assert.deepEqual(problemsOf(text), [form], text);
  assert.deepEqual(problemsOf('3-1'), ['the range 3-1 is empty']);
  assert.deepEqual(problemsOf('1024'), ['processors are numbered below 1024']);
  assert.deepEqual(problemsOf('0=0:1'), ['must be VCPU=SET, with a colon between two']);
  assert.deepEqual(problemsOf('0='), [form]);
});
