/** Runs cases on the processor that this process runs on. The process is given over to it: see `start`. */
import { constants } from 'node:os';
import {
  createMemoryFile,
  functionAt,
  type Mapped,
  mapForever,
  Protection,
  protect,
  setNativeSignalHandler,
  setSignalStack,
} from '#sys/native-code.ts';
import {
  type CaseResult,
  CODE_BASE,
  CODE_SELECTOR,
  CODE_SIZE,
  CONST_BASE,
  CONST_SIZE,
  DATA_BASE,
  DATA_SIZE,
  differences,
  FILLER,
  initialData,
  STATE,
  type TestCase,
  userState,
  writeInitialMemory,
} from '../case.ts';
import { endingOf } from '../trap.ts';
import { assembleTrampoline, FRAME, FX_SIZE, LAYOUT } from './trampoline.ts';

const READ_WRITE = Protection.READ | Protection.WRITE;
const SIGNAL_STACK_BYTES = 256 * 1024;

/** Faults as signals: what the kernel sends for exceptions of user mode. */
const SIGNALS = [
  constants.signals.SIGILL,
  constants.signals.SIGTRAP,
  constants.signals.SIGBUS,
  constants.signals.SIGFPE,
  constants.signals.SIGSEGV,
];

export class Processor {
  /** The code area through a second, writable mapping: the one at CODE_BASE is as unwritable as a case expects. */
  readonly #code: Uint8Array;
  readonly #data: Uint8Array;
  readonly #base: Uint8Array;
  readonly #before = new Uint8Array(DATA_SIZE);
  readonly #state: Uint8Array;
  readonly #registers: BigUint64Array;
  readonly #codeSelector: Uint32Array;
  readonly #fx: Uint8Array;
  readonly #enter: () => void;

  private constructor(code: Uint8Array, data: Uint8Array, base: Uint8Array, trampoline: Mapped) {
    const { bytes } = trampoline;
    this.#code = code;
    this.#data = data;
    this.#base = base;
    this.#state = bytes.subarray(LAYOUT.STATE, LAYOUT.STATE + STATE.SIZE);
    this.#registers = new BigUint64Array(bytes.buffer as ArrayBuffer, LAYOUT.REGISTERS, FRAME.COUNT);
    this.#codeSelector = new Uint32Array(bytes.buffer as ArrayBuffer, LAYOUT.CS, 1);
    const fxAt = LAYOUT.REGISTERS + 8 * FRAME.COUNT;
    this.#fx = bytes.subarray(fxAt, fxAt + FX_SIZE);
    this.#enter = functionAt(trampoline.address);
  }

  /**
   * Maps the cases' world and takes over the signals of faults for good. A process can do this once and should do
   * little else. Throws SyscallError, for instance where executable memory is forbidden.
   */
  static start(): Processor {
    const file = createMemoryFile('code', CODE_SIZE);
    const code = mapForever({ sizeBytes: CODE_SIZE, protection: READ_WRITE, fd: file }).bytes;
    const executable = Protection.READ | Protection.EXECUTE;
    mapForever({ address: CODE_BASE, sizeBytes: CODE_SIZE, protection: executable, fd: file });
    code.fill(FILLER);
    const data = mapForever({ address: DATA_BASE, sizeBytes: DATA_SIZE + CONST_SIZE, protection: READ_WRITE }).bytes;
    const base = initialData();
    data.set(base);
    protect(CONST_BASE, CONST_SIZE, Protection.READ);
    const trampoline = mapForever({ sizeBytes: LAYOUT.SIZE, protection: READ_WRITE | Protection.EXECUTE });
    const { code: machineCode, enter, onSignal, restorer } = assembleTrampoline();
    if (enter !== 0) throw new RangeError('the trampoline begins with its entry');
    trampoline.bytes.set(machineCode);
    setSignalStack(mapForever({ sizeBytes: SIGNAL_STACK_BYTES, protection: READ_WRITE }));
    for (const signal of SIGNALS) {
      setNativeSignalHandler(signal, trampoline.address + onSignal, trampoline.address + restorer);
    }
    return new Processor(code, data.subarray(0, DATA_SIZE), base, trampoline);
  }

  run(testCase: TestCase): CaseResult {
    const { code, state, patches, bits } = testCase;
    writeInitialMemory(this.#data, this.#base, patches);
    writeInitialMemory(this.#before, this.#base, patches);
    const offset = Number(state.control[0] as bigint) - CODE_BASE;
    if (!(offset >= 0 && offset < CODE_SIZE)) throw new RangeError('the instruction lies outside of the code area');
    const inside = code.subarray(0, CODE_SIZE - offset);
    this.#code.set(inside, offset);
    this.#state.set(state.bytes);
    this.#codeSelector[0] = CODE_SELECTOR[bits];
    this.#enter();
    this.#code.fill(FILLER, offset, offset + inside.length);
    return this.#result(offset, inside.length);
  }

  #result(offset: number, length: number): CaseResult {
    const state = userState();
    FRAME.GPR.forEach((place, i) => {
      state.gpr[i] = this.#registers[place] as bigint;
    });
    state.bytes.set(this.#fx, STATE.FX);
    const cr2 = this.#registers[FRAME.CR2] as bigint;
    const vector = Number(this.#registers[FRAME.TRAP]);
    const errorCode = Number(this.#registers[FRAME.ERROR]);
    const trap = { vector, errorCode, cr2, rip: this.#registers[FRAME.RIP] as bigint };
    const { exception, rip } = endingOf(trap, offset, length);
    state.control[0] = rip;
    state.control[1] = this.#registers[FRAME.RFLAGS] as bigint;
    const same = Buffer.compare(this.#before, this.#data) === 0;
    return { state, exception, changes: same ? [] : differences(this.#before, this.#data), failure: null };
  }
}
