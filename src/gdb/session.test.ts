import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FXSAVE } from '#hypervisor/debug.ts';
import { ALL_BYTES, REGISTERS } from './registers.ts';
import { TARGET_XML } from './target-xml.ts';
import { ScriptedSession } from './testing.ts';

const number = (name: string): string => REGISTERS.findIndex((register) => register.name === name).toString(16);

describe('registers', () => {
  test('have the numbers that GDB gives those of amd64', () => {
    const names = REGISTERS.map(({ name }) => name);
    assert.deepEqual(names.slice(0, 9), ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp', 'r8']);
    assert.deepEqual(names.slice(16, 25), ['rip', 'eflags', 'cs', 'ss', 'ds', 'es', 'fs', 'gs', 'st0']);
    assert.deepEqual(
      [names[32], names[39], names[40], names[55], names[56]],
      ['fctrl', 'fop', 'xmm0', 'xmm15', 'mxcsr'],
    );
  });

  test('are read one by one and all at once', () => {
    const gdb = new ScriptedSession();
    Object.assign(gdb.target.states[0] ?? {}, { rax: 0x1122_3344_5566_7788n, rflags: 0x246n, cs: 0x10 });
    assert.equal(gdb.ask('p0'), '8877665544332211');
    assert.equal(gdb.ask(`p${number('eflags')}`), '46020000');
    assert.equal(gdb.ask(`p${number('cs')}`), '10000000');
    assert.match(gdb.ask('g') ?? '', /^8877665544332211/);
    assert.equal((gdb.ask('g') ?? '').length, 2 * ALL_BYTES);
  });

  test('are written, and what cannot be changed is an error unless it stays', () => {
    const gdb = new ScriptedSession();
    assert.equal(gdb.ask('P0=8877665544332211'), 'OK');
    assert.equal(gdb.target.states[0]?.rax, 0x1122_3344_5566_7788n);
    assert.equal(gdb.ask(`P${number('xmm1')}=${'01'.repeat(16)}`), 'OK');
    assert.equal(gdb.target.states[0]?.fxsave[FXSAVE.XMM + 16], 1);
    assert.equal(gdb.ask(`P${number('cs')}=00000000`), 'OK');
    assert.equal(gdb.ask(`P${number('cs')}=08000000`), 'E16');
    const all = gdb.ask('g') ?? '';
    assert.equal(gdb.ask(`G${'ff'.repeat(8)}${all.slice(16)}`), 'OK');
    assert.equal(gdb.target.states[0]?.rax, 2n ** 64n - 1n);
  });

  test('of x87 have tags as FSTENV has them', () => {
    const gdb = new ScriptedSession();
    const image = gdb.target.states[0]?.fxsave;
    assert.ok(image);
    // TOP is 6: ST(0) is physical 6, which is 1.0; physical 7 is zero; the others are empty.
    image[FXSAVE.STATUS + 1] = 6 << 3;
    image[FXSAVE.TAGS] = 0xc0;
    image.set([0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f], FXSAVE.ST);
    assert.equal(gdb.ask(`p${number('ftag')}`), 'ff4f0000');
    assert.equal(gdb.ask(`P${number('ftag')}=ffff0000`), 'OK');
    assert.equal(gdb.target.states[0]?.fxsave[FXSAVE.TAGS], 0);
  });

  test('of the thread that is selected', () => {
    const gdb = new ScriptedSession();
    assert.equal(gdb.ask('Hg2'), 'OK');
    assert.equal(gdb.ask('P0=0100000000000000'), 'OK');
    assert.deepEqual([gdb.target.states[0]?.rax, gdb.target.states[1]?.rax], [0n, 1n]);
    assert.equal(gdb.ask('Hg3'), 'E01');
  });
});

test('the description has each register by name, in order', () => {
  const described = [...TARGET_XML.matchAll(/<reg name="(\w+)" bitsize="(\d+)"/g)].map(
    ([, name, bits]) => `${name} ${bits}`,
  );
  assert.deepEqual(
    described,
    REGISTERS.map(({ name, bits }) => `${name} ${bits}`),
  );
  const gdb = new ScriptedSession();
  let text = '';
  for (let answer = 'm'; answer.startsWith('m'); text += answer.slice(1)) {
    answer = gdb.ask(`qXfer:features:read:target.xml:${text.length.toString(16)},400`) ?? '';
  }
  assert.equal(text, TARGET_XML);
  assert.equal(gdb.ask('qXfer:features:read:other.xml:0,10'), 'E00');
});

describe('memory', () => {
  test('is read up to where it ends', () => {
    const gdb = new ScriptedSession();
    assert.equal(gdb.ask('m1001,3'), '010203');
    assert.equal(gdb.ask('m10fe,10'), 'feff');
    assert.equal(gdb.ask('m1100,1'), 'E0e');
    assert.equal(gdb.ask('m0,ffffffff'), 'E0e');
  });

  test('is written in digits and in bytes, or not at all', () => {
    const gdb = new ScriptedSession();
    assert.equal(gdb.ask('M1000,2:aabb'), 'OK');
    assert.equal(gdb.ask('X1002,3:}\x03:}\x04'), 'OK');
    assert.deepEqual([...gdb.target.memory.subarray(0, 6)], [0xaa, 0xbb, 0x23, 0x3a, 0x24, 5]);
    assert.equal(gdb.ask('X1000,0:'), 'OK');
    assert.equal(gdb.ask('M10ff,2:aabb'), 'E0e');
    assert.equal(gdb.ask('M1000,3:aabb'), 'E01');
  });
});

describe('running', () => {
  test('is answered by the stop, with its thread and reason', () => {
    const gdb = new ScriptedSession();
    gdb.ask('qSupported:swbreak+;hwbreak+');
    const stops = [
      [{ cause: 'step' }, 'T05thread:2;'],
      [{ cause: 'software', address: 0x10n }, 'T05swbreak:;thread:2;'],
      [{ cause: 'hardware', address: 0x10n }, 'T05hwbreak:;thread:2;'],
      [{ cause: 'write', address: 0xffff_8000_0000_0010n }, 'T05watch:ffff800000000010;thread:2;'],
      [{ cause: 'read', address: 0x10n }, 'T05rwatch:10;thread:2;'],
      [{ cause: 'access', address: 0x10n }, 'T05awatch:10;thread:2;'],
      [{ cause: 'interrupt' }, 'T02thread:2;'],
    ] as const;
    for (const [stop, answer] of stops) {
      assert.equal(gdb.ask('vCont;c'), undefined);
      assert.equal(gdb.stopped({ thread: 1, stop }), answer);
    }
    assert.equal(gdb.ask('?'), 'T02thread:2;');
  });

  test('gives each thread the first action that names it', () => {
    const gdb = new ScriptedSession(3);
    const resumes = { 'vCont;c': 'run run run', 'vCont;s:2;c': 'run step run', 'vCont;s:1': 'step stay stay' };
    const older = { 'vCont;C05:3;S0b': 'step step run', 'vCont;c:0': 'run stay stay', 'vCont;c:-1;s:1': 'run run run' };
    for (const [packet, actions] of Object.entries({ ...resumes, ...older })) {
      gdb.ask(packet);
      assert.equal(gdb.target.deeds.pop(), actions, packet);
      gdb.stopped({ thread: 0, stop: { cause: 'step' } });
    }
    for (const bad of [
      'vCont;',
      'vCont;x',
      'vCont;c:9',
      'vCont;c:1:2',
      'vCont',
      'vCont;Cxx',
      `vCont${';c'.repeat(65)}`,
    ]) {
      assert.equal(gdb.ask(bad), 'E01', bad);
    }
  });

  test('in the older way goes on at an address, alone or with all', () => {
    const gdb = new ScriptedSession();
    gdb.ask('s2000');
    assert.deepEqual([gdb.target.deeds.pop(), gdb.target.states[0]?.rip], ['step run', 0x2000n]);
    gdb.stopped({ thread: 0, stop: { cause: 'step' } });
    gdb.ask('Hc2');
    gdb.ask('C05;3000');
    assert.deepEqual([gdb.target.deeds.pop(), gdb.target.states[1]?.rip], ['stay run', 0x3000n]);
  });

  test('is interrupted, and takes nothing else than an end', () => {
    const gdb = new ScriptedSession();
    assert.equal(gdb.receive('\x03'), '');
    gdb.ask('vCont;c');
    gdb.receive('\x03');
    assert.deepEqual(gdb.target.deeds, ['run run', 'interrupt']);
    assert.equal(gdb.ask('g'), 'E10');
    assert.equal(gdb.ask('D'), 'OK');
    assert.equal(gdb.session.state, 'detached');
  });

  test('that ends with the machine is answered with its status', () => {
    const gdb = new ScriptedSession();
    gdb.session.ended(32);
    assert.equal(gdb.take(), '');
    gdb.ask('c');
    gdb.session.ended(32);
    assert.equal(gdb.take(), '$W20#b9');
  });
});

test('breakpoints are set and removed by kind', () => {
  const gdb = new ScriptedSession();
  for (const packet of ['Z0,10,1', 'Z1,10,4', 'Z2,20,8', 'Z3,20,2', 'Z4,20,1', 'z2,20,8'])
    assert.equal(gdb.ask(packet), 'OK');
  assert.deepEqual(gdb.target.deeds, [
    'insert software 10',
    'insert hardware 10',
    'insert write 20+8',
    'insert read 20+2',
    'insert access 20+1',
    'remove write 20+8',
  ]);
  assert.deepEqual([gdb.ask('Z5,10,1'), gdb.ask('Z0,10,1;X1,0')], ['', '']);
  assert.deepEqual([gdb.ask('Z0,,1'), gdb.ask('Z0,10'), gdb.ask('Zx,10,1')], ['E01', 'E01', 'E01']);
  gdb.target.insertResult = 'no-room';
  assert.equal(gdb.ask('Z1,10,1'), 'E1c');
  gdb.target.insertResult = 'refused';
  assert.equal(gdb.ask('Z1,10,1'), 'E16');
});

test('threads are listed, described and known to be alive', () => {
  const gdb = new ScriptedSession(3);
  assert.deepEqual([gdb.ask('qfThreadInfo'), gdb.ask('qsThreadInfo'), gdb.ask('qC')], ['m1,2,3', 'l', 'QC1']);
  assert.deepEqual([gdb.ask('T3'), gdb.ask('T4'), gdb.ask('T')], ['OK', 'E01', 'E01']);
  assert.equal(Buffer.from(gdb.ask('qThreadExtraInfo,2') ?? '', 'hex').toString(), 'vCPU 1, running');
});

test('packets that are not known get the empty answer', () => {
  const gdb = new ScriptedSession();
  for (const packet of [
    '',
    'vMustReplyEmpty',
    'qTStatus',
    '!',
    'R00',
    'x1000,1',
    'Hx1',
    'vAttach;1',
    'qRcmd,00',
    '\xff',
  ]) {
    assert.equal(gdb.ask(packet), '', packet);
  }
});

test('a damaged packet is asked for again, and an answer that came damaged sent again, until there are no acknowledgements', () => {
  const gdb = new ScriptedSession();
  assert.equal(gdb.receive('$qC#00'), '-');
  assert.equal(gdb.receive('$qC#b4'), '+$QC1#c5');
  assert.equal(gdb.receive('-'), '$QC1#c5');
  assert.equal(gdb.receive('$QStartNoAckMode#b0'), '+$OK#9a');
  assert.equal(gdb.receive('$qC#b4$qC#00-'), '$QC1#c5');
});

test('a packet that GDB has sent again before it got its answer is answered once, while there are acknowledgements', () => {
  const gdb = new ScriptedSession();
  assert.equal(gdb.receive('+$qC#b4$qC#b4$qC#b4'), '+$QC1#c5++');
  assert.equal(gdb.receive('$qC#b4'), '+$QC1#c5');
  assert.equal(gdb.receive('$QStartNoAckMode#b0'), '+$OK#9a');
  assert.equal(gdb.receive('$qC#b4$qC#b4'), '$QC1#c5$QC1#c5');
});

test('a kill and a packet that is too long end the session', () => {
  const [killed, kill, lost] = [new ScriptedSession(), new ScriptedSession(), new ScriptedSession()];
  assert.deepEqual([killed.ask('vKill;1'), killed.session.state], ['OK', 'killed']);
  assert.deepEqual([kill.ask('k'), kill.session.state], [undefined, 'killed']);
  lost.receive(`$${'x'.repeat(0x4001)}`);
  assert.equal(lost.session.state, 'lost');
});
