import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DataWord, DecisionGraph } from './decisions.ts';
import { disassemble } from './disassembler.ts';
import { emit } from './emitter.ts';
import { checkProgram, runProgram } from './testing-bpf.ts';

const data = (call: number, first = 0n) => ({ call, arch: 0, args: [first, 0n, 0n, 0n, 0n, 0n] });

test('equal decisions are one, and a test that decides nothing is left out', () => {
  const graph = new DecisionGraph();
  const question = { word: 0, operation: 'equal', value: 5 } as const;
  assert.equal(graph.return(1), graph.return(1));
  assert.equal(
    graph.test(question, graph.return(1), graph.return(2)),
    graph.test(question, graph.return(1), graph.return(2)),
  );
  assert.equal(graph.test(question, graph.return(1), graph.return(1)), graph.return(1));
  const inner = graph.test(question, graph.return(1), graph.return(2));
  assert.equal(graph.test(question, graph.return(3), inner), graph.test(question, graph.return(3), graph.return(2)));
});

test('a test whose answer is known is left out', () => {
  const graph = new DecisionGraph();
  const [yes, no] = [graph.return(1), graph.return(0)];
  assert.equal(graph.test({ word: 0, operation: 'any', value: 0 }, yes, no), no);
  assert.equal(graph.test({ word: 0, operation: 'greater-equal', value: 0 }, yes, no), yes);
  assert.equal(graph.test({ word: 0, operation: 'greater', value: 0xffff_ffff }, yes, no), no);
});

test('a word is loaded once on a way that asks only it, and again where it was lost', () => {
  const graph = new DecisionGraph();
  const argument = DataWord.low(0);
  const two = graph.test({ word: 0, operation: 'equal', value: 2 }, graph.return(2), graph.return(0));
  const between = graph.test({ word: argument, operation: 'equal', value: 7 }, graph.return(7), two);
  const program = emit(graph, graph.test({ word: 0, operation: 'greater', value: 9 }, between, two));
  checkProgram(program);
  assert.equal(
    disassemble(program),
    [
      '0: load call\n1: if > 0x9 goto 2 else 6\n2: load arg0.low\n3: if == 0x7 goto 4 else 5\n4: return 0x7\n',
      '5: load call\n6: if == 0x2 goto 8 else 7\n7: return kill-thread\n8: return 0x2\n',
    ].join(''),
  );
  assert.equal(runProgram(program, data(10, 7n)), 7);
  assert.equal(runProgram(program, data(2)), 2);
});

for (const count of [250, 251, 252, 253, 254, 255, 256, 257, 258, 259, 600]) {
  test(`${count} tests lie between a jump and its target`, () => {
    const graph = new DecisionGraph();
    const word = DataWord.low(0);
    const ends = { yes: graph.return(1), no: graph.return(2) };
    const far = graph.test({ word: DataWord.low(1), operation: 'equal', value: 9 }, ends.yes, ends.no);
    let chain = far;
    for (let value = 0; value < count; value++) {
      chain = graph.test({ word, operation: 'equal', value }, value % 2 ? ends.yes : far, chain);
    }
    const program = emit(graph, chain);
    checkProgram(program);
    for (let value = 0; value < count; value++) {
      assert.equal(runProgram(program, data(0, BigInt(value))), value % 2 ? 1 : 2, `value ${value}`);
    }
    assert.equal(runProgram(program, { call: 0, arch: 0, args: [9999n, 9n, 0n, 0n, 0n, 0n] }), 1);
  });
}
