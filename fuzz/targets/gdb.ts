import assert from 'node:assert/strict';
import { PacketReader, packetOf } from '#gdb/packet.ts';
import { ALL_BYTES } from '#gdb/registers.ts';
import { ScriptedSession } from '#gdb/testing.ts';
import { mutate } from '../mutate.ts';
import type { Random } from '../random.ts';
import { inputTarget } from '../target.ts';

/** What a hostile client sends to the port of GDB, in the pieces in which it comes; between them the machine may stop. */
type Conversation = readonly Uint8Array[];

const THREADS = 3;
const PIECES_MAX = 12;
const PACKETS: readonly string[] = [
  ...['?', 'g', `G${'00'.repeat(ALL_BYTES)}`, 'p0', 'p3f', 'pffffffff', 'P0=0000000000000000', 'P12=00000000', 'P18='],
  ...['m1000,10', 'm10f0,100', 'mffffffffffffffff,ffffffff', 'M1000,2:0011', 'X1000,3:a}]b', 'X1000,0:', 'M,:'],
  ...[
    'Hg0',
    'Hg2',
    'Hc-1',
    'Hc3',
    'T1',
    'T99',
    'Z0,1000,1',
    'Z2,ffffffffffffffff,8',
    'z4,1000,4',
    'Z0,0,1;X1,0',
    'Z9,0,0',
  ],
  ...[
    'c',
    'c1000',
    's',
    'C05',
    'S05;10',
    'vCont?',
    'vCont;c',
    'vCont;s:1;c',
    'vCont;C05:2;S0b:-1',
    `vCont${';s:1'.repeat(70)}`,
  ],
  ...[
    'qSupported:swbreak+;hwbreak+',
    'qXfer:features:read:target.xml:0,fff',
    'qXfer:features:read:target.xml:ffffffff,ffffffff',
  ],
  ...[
    'qfThreadInfo',
    'qsThreadInfo',
    'qC',
    'qThreadExtraInfo,2',
    'qAttached',
    'QStartNoAckMode',
    'vKill;1',
    'D',
    'k',
    '',
  ],
];

function generate(random: Random): Conversation {
  return Array.from({ length: 1 + random.below(PIECES_MAX) }, () => {
    if (random.oneIn(12)) return random.pick([Uint8Array.of(3), Buffer.from('+-'), random.bytes(random.below(64))]);
    if (random.oneIn(200)) return Buffer.alloc(0x4010, '$');
    if (random.oneIn(300)) return Buffer.from(`$${'x'.repeat(0x4010)}`);
    const data = Buffer.from(random.pick(PACKETS), 'latin1');
    // Inside the sum, so that it is looked at; or anywhere.
    if (random.oneIn(3)) return packetOf(Buffer.from(mutate(data, random)).toString('latin1'));
    const packet = packetOf(data.toString('latin1'));
    return random.oneIn(8) ? mutate(packet, random) : packet;
  });
}

/** All that is sent is packets and acknowledgements, and each answer comes where one is due; the target sees only what it allows. */
function check(pieces: Conversation): void {
  const gdb = new ScriptedSession(THREADS);
  const { session, target } = gdb;
  for (const piece of pieces) {
    const before = target.deeds.length;
    session.receive(piece);
    const sent = gdb.take();
    checkSent(sent);
    const deeds = target.deeds.slice(before);
    const runs = deeds.filter((deed) => /^(run|step|stay)/.test(deed));
    assert.ok(runs.length <= 1, 'it goes on once, and nothing is done before it has stopped');
    if (session.state !== 'open') return;
    if (runs.length === 1)
      session.stopped({ thread: piece.length % THREADS, stop: { cause: 'write', address: 0x1000n } });
    checkSent(gdb.take());
  }
}

function checkSent(sent: string): void {
  assert.match(sent, /^(?:[+-]|\$[^#$]*#[0-9a-f]{2})*$/s);
  for (const { kind } of new PacketReader().read(Buffer.from(sent, 'latin1'))) {
    assert.ok(kind === 'packet' || kind === 'nak', kind);
  }
}

export const target = inputTarget<Conversation>({
  name: 'gdb',
  generate,
  check,
  show: (pieces) => pieces.map((piece) => JSON.stringify(Buffer.from(piece).toString('latin1'))).join(' '),
  *shrink(pieces) {
    for (let at = 0; at < pieces.length; at++) yield pieces.toSpliced(at, 1);
  },
});
