/** Seccomp programs for x86-64 by hand, seccomp(2): these tests are of the jail, not of the compiler. */
const RET_KILL_PROCESS = 0x8000_0000;
const RET_USER_NOTIF = 0x7fc0_0000;
const RET_ALLOW = 0x7fff_0000;
/** arch/x86/entry/syscalls/syscall_64.tbl */
const SYS = { open: 2, openat: 257, socket: 41 } as const;

function instruction(code: number, [ifTrue, ifFalse]: readonly [number, number], k: number): number[] {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setUint16(0, code, true);
  bytes.setUint8(2, ifTrue);
  bytes.setUint8(3, ifFalse);
  bytes.setUint32(4, k, true);
  return [...new Uint8Array(bytes.buffer)];
}

/** Kills on open, openat and socket, and allows everything else. */
export function killOnOpening(): Uint8Array {
  return onOpening(RET_KILL_PROCESS);
}

/** Tells the listener of open, openat and socket, and allows everything else. */
export function tellOnOpening(): Uint8Array {
  return onOpening(RET_USER_NOTIF);
}

function onOpening(value: number): Uint8Array {
  const numbers = Object.values(SYS);
  const load = instruction(0x20, [0, 0], 0); // BPF_LD | BPF_W | BPF_ABS: the call's number
  const compare = numbers.map((number, index) => instruction(0x15, [numbers.length - index, 0], number)); // BPF_JEQ
  return Uint8Array.from([
    ...load,
    ...compare.flat(),
    ...instruction(0x06, [0, 0], RET_ALLOW), // BPF_RET
    ...instruction(0x06, [0, 0], value),
  ]);
}
