/** Runs many generated cases on two engines and reports what differs. */
import { GPR_NAMES } from '#cpu/layout.ts';
import { type CaseResult, type Engine, FX, STATE, type TestCase, userState } from './case.ts';
import { compareResults } from './compare.ts';
import { createGenerator, type Generator } from './generate/generate.ts';
import { type HostMake, isOfTheMake } from './host-make.ts';

export interface Mismatch {
  readonly testCase: TestCase;
  readonly differences: readonly string[];
}

/** What is compared. */
export interface Engines {
  readonly reference: Engine;
  readonly subject: Engine;
  /** What the reference's processor may do in its own way; by default nothing. */
  readonly make?: HostMake;
  /** Whether the reference runs legacy code, without which its cases are left out; by default it does. */
  readonly hasLegacyCode?: boolean;
}

export interface CampaignOptions extends Engines {
  /** u32. */
  readonly seed: number;
  readonly firstCase?: number;
  readonly cases: number;
  /** By default cases over the whole table. */
  readonly generator?: Generator;
  /** The run ends early after this many mismatches; default 100. */
  readonly mismatchesMax?: number;
}

export interface CampaignResult {
  /** Those that were left out among them. */
  readonly cases: number;
  readonly leftOut: number;
  readonly mismatches: readonly Mismatch[];
}

const BATCH = 1000;
const MISMATCHES_MAX = 100;

async function compareBatch(
  { reference, subject, make = 'other' }: Engines,
  batch: readonly TestCase[],
): Promise<Mismatch[]> {
  const expected = await reference.run(batch);
  const actual = await subject.run(batch);
  const mismatches: Mismatch[] = [];
  batch.forEach((testCase, i) => {
    const outcome = { testCase, expected: expected[i] as CaseResult, actual: actual[i] as CaseResult };
    const differences = compareResults(testCase, outcome.expected, outcome.actual);
    if (differences.length > 0 && !isOfTheMake(make, outcome, differences)) mismatches.push({ testCase, differences });
  });
  return mismatches;
}

/** Runs the cases in batches. Throws what an engine throws. */
export async function runCampaign(options: CampaignOptions): Promise<CampaignResult> {
  const { seed, firstCase = 0, mismatchesMax = MISMATCHES_MAX } = options;
  const generator = options.generator ?? createGenerator(seed);
  const mismatches: Mismatch[] = [];
  const { hasLegacyCode = true } = options;
  let done = 0;
  let leftOut = 0;
  while (done < options.cases && mismatches.length < mismatchesMax) {
    const count = Math.min(BATCH, options.cases - done);
    const batch = Array.from({ length: count }, (_, i) => generator.generate(firstCase + done + i));
    const compared = batch.filter(({ bits }) => bits === 64 || hasLegacyCode);
    mismatches.push(...(await compareBatch(options, compared)));
    leftOut += count - compared.length;
    done += count;
  }
  return { cases: done, leftOut, mismatches };
}

/** Cases a little simpler than this one: a register zero, a patch gone, vectors zero, flags clear. */
function* simpler(testCase: TestCase): Iterable<TestCase> {
  const { state, patches } = testCase;
  const changed = (change: (bytes: Uint8Array<ArrayBuffer>) => void): TestCase | null => {
    const bytes = state.bytes.slice();
    change(bytes);
    return Buffer.compare(bytes, state.bytes) === 0 ? null : { ...testCase, state: userState(bytes) };
  };
  for (let i = 0; i < patches.length; i++) yield { ...testCase, patches: patches.toSpliced(i, 1) };
  const candidates = [changed((bytes) => bytes.fill(0, STATE.FX + FX.XMM, STATE.FX + FX.XMM + 256))];
  candidates.push(changed((bytes) => bytes.fill(0, STATE.FX + FX.ST, STATE.FX + FX.XMM)));
  for (let i = 0; i < 16; i++) {
    candidates.push(changed((bytes) => bytes.fill(0, STATE.GPR + 8 * i, STATE.GPR + 8 * i + 8)));
    candidates.push(changed((bytes) => bytes.fill(0, STATE.FX + FX.XMM + 16 * i, STATE.FX + FX.XMM + 16 * i + 16)));
  }
  candidates.push(changed((bytes) => userState(bytes).control.fill(0x202n, 1)));
  for (const candidate of candidates) if (candidate) yield candidate;
}

/** The simplest case found that still differs. What the engines themselves fail on is left as it is. */
export async function shrink(mismatch: Mismatch, engines: Engines): Promise<Mismatch> {
  if (mismatch.differences.some((line) => /failed: /.test(line))) return mismatch;
  let best = mismatch;
  for (let progress = true; progress; ) {
    progress = false;
    for (const candidate of simpler(best.testCase)) {
      const [smaller] = await compareBatch(engines, [candidate]);
      if (!smaller || smaller.differences.some((line) => /failed: /.test(line))) continue;
      best = smaller;
      progress = true;
      break;
    }
  }
  return best;
}

/** A mismatch as text: name, bytes, what the case began with as far as it is not zero, and each difference. */
export function describeMismatch({ testCase, differences }: Mismatch): string {
  const { name, mnemonic, bits, code, state, patches, details } = testCase;
  const lines = [
    `${name}: ${bits === 32 ? 'legacy ' : ''}${mnemonic} ${details?.row.operands.join(',') ?? ''} [${Buffer.from(code).toString('hex')}]`,
  ];
  const registers = GPR_NAMES.flatMap((register, i) =>
    state.gpr[i] === 0n ? [] : [`${register}=${(state.gpr[i] as bigint).toString(16)}`],
  );
  lines.push(
    `  begins: rip=${state.control[0]?.toString(16)} rflags=${state.control[1]?.toString(16)} ${registers.join(' ')}`,
  );
  const { fx } = state;
  const row = details?.row;
  if (row?.sse) {
    const xmm = Array.from({ length: 16 }, (_, i) => i).flatMap((i) => {
      const [low, high] = [0, 8].map((half) => fx.getBigUint64(FX.XMM + 16 * i + half, true)) as [bigint, bigint];
      return low | high ? [`xmm${i}=${high.toString(16)}:${low.toString(16).padStart(16, '0')}`] : [];
    });
    lines.push(`  mxcsr=${fx.getUint32(FX.MXCSR, true).toString(16)} ${xmm.join(' ')}`);
  }
  if (row?.x87 || row?.mmx) {
    const st = Array.from({ length: 8 }, (_, i) => FX.ST + 16 * i).map(
      (at, i) =>
        `st${i}=${fx.getUint16(at + 8, true).toString(16)}:${fx.getBigUint64(at, true).toString(16).padStart(16, '0')}`,
    );
    const [fcw, fsw] = [FX.FCW, FX.FSW].map((at) => fx.getUint16(at, true).toString(16));
    lines.push(`  fcw=${fcw} fsw=${fsw} ftw=${fx.getUint8(FX.FTW).toString(16)} ${st.join(' ')}`);
  }
  for (const { offset, bytes } of patches)
    lines.push(`  data+${offset.toString(16)}: ${Buffer.from(bytes).toString('hex')}`);
  return [...lines, ...differences.map((line) => `  ${line}`)].join('\n');
}
