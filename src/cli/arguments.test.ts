import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type OptionSpec, parseArguments } from './arguments.ts';

const specs: readonly OptionSpec[] = [
  { name: 'mem', short: 'm', value: 'MIB', help: '' },
  { name: 'params', short: 'p', value: 'TEXT', repeatable: true, help: '' },
  { name: 'stats', help: '' },
  { name: 'help', short: 'h', help: '' },
];

function parse(...argv: string[]) {
  const { values, flags, positionals, mistakes } = parseArguments(argv, specs);
  return {
    values: Object.fromEntries(values),
    flags: [...flags],
    positionals,
    mistakes: mistakes.map(({ option, message }) => `${option}: ${message}`),
  };
}

const nothing = { values: {}, flags: [], positionals: [], mistakes: [] };

describe('forms of an option', () => {
  for (const form of [['--mem=64'], ['--mem', '64'], ['-m64'], ['-m', '64']]) {
    test(`${form.join(' ')} gives mem the value 64`, () => {
      assert.deepEqual(parse(...form), { ...nothing, values: { mem: ['64'] } });
    });
  }

  test('a value may contain = and spaces', () => {
    assert.deepEqual(parse('--params=root=/dev/vda rw', '-pa=b').values, { params: ['root=/dev/vda rw', 'a=b'] });
  });

  test('an empty value is a value', () => {
    assert.deepEqual(parse('--params=', '-p', '').values, { params: ['', ''] });
  });

  test('options and positional arguments come in any order', () => {
    assert.deepEqual(parse('kernel', '-m64', 'other', '--stats'), {
      ...nothing,
      values: { mem: ['64'] },
      flags: ['stats'],
      positionals: ['kernel', 'other'],
    });
  });

  test('-- ends the options', () => {
    assert.deepEqual(parse('--', '--mem', '-m64'), { ...nothing, positionals: ['--mem', '-m64'] });
  });

  test('a lone - is a positional argument and a value', () => {
    assert.deepEqual(parse('-', '-p', '-'), { ...nothing, values: { params: ['-'] }, positionals: ['-'] });
  });

  test('flags stand together behind one dash', () => {
    assert.deepEqual(parse('-hm64'), { ...nothing, flags: ['help'], values: { mem: ['64'] } });
  });
});

describe('mistakes', () => {
  const needsValue = 'needs a value; one that begins with - is given with =, as in --name=-value';
  const cases: readonly [string, string[], string[]][] = [
    ['an unknown long option', ['--memm=4'], ['--memm: unknown option']],
    ['an unknown short option is one mistake', ['-xyz'], ['-xyz: unknown option']],
    ['an unknown option does not take the next argument', ['--foo', 'kernel'], ['--foo: unknown option']],
    ['an unknown option is quoted when it could act on a terminal', ['--\x1b[2J'], ['"--\\u001b[2J": unknown option']],
    ['a missing value at the end', ['--mem'], [`--mem: ${needsValue}`]],
    ['a missing value before an option', ['-m', '--stats'], [`-m: ${needsValue}`]],
    ['a missing value before --', ['--mem', '--', 'kernel'], [`--mem: ${needsValue}`]],
    ['a doubled option', ['-m1', '--mem', '2'], ['--mem: given twice, last with "2"']],
    ['a doubled flag', ['--stats', '--stats'], ['--stats: given twice']],
    ['a value for a flag', ['--stats=yes'], ['--stats: takes no value']],
    ['the name of an object property', ['--__proto__=1', '--constructor'], ['--__proto__', '--constructor']],
  ];
  for (const [name, argv, expected] of cases) {
    test(name, () => {
      const { mistakes } = parse(...argv);
      assert.equal(mistakes.length, expected.length);
      const starts = expected.map((text, index) => mistakes[index]?.slice(0, text.length));
      assert.deepEqual(starts, expected);
    });
  }

  test('all are collected, and what follows a missing value is still read', () => {
    assert.deepEqual(parse('--mem', '--stats', '--bad', 'kernel', '-p'), {
      values: {},
      flags: ['stats'],
      positionals: ['kernel'],
      mistakes: [`--mem: ${needsValue}`, '--bad: unknown option', `-p: ${needsValue}`],
    });
  });

  test('the first value of a doubled option stays', () => {
    assert.deepEqual(parse('-m1', '-m2').values, { mem: ['1'] });
  });
});

test('any list of arguments is read without an exception, and every positional came from it', () => {
  const argument = fc.oneof(
    fc.string(),
    fc.constantFrom('-m', '--mem', '--mem=', '-p', '--', '-', '--stats', '-hm', 'k'),
  );
  fc.assert(
    fc.property(fc.array(argument, { maxLength: 8 }), (argv) => {
      const { positionals, mistakes } = parse(...argv);
      // Node takes a dash among grouped short options, as in `-x-y`, for the end of the options.
      if (mistakes.length === 0) for (const positional of positionals) assert.ok(argv.includes(positional));
    }),
  );
});
