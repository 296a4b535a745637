/** Classic BPF as seccomp takes it: instructions and their bytes. Source: uapi/linux/bpf_common.h, filter.h. */
import { struct, u8, u16, u32 } from '#util/struct.ts';

/** The codes that filters here are made of; seccomp allows more (kernel/seccomp.c, seccomp_check_filter). */
export const Code = {
  /** BPF_LD | BPF_W | BPF_ABS: accumulator = word of seccomp_data at k. */
  LOAD: 0x20,
  /** BPF_JMP | BPF_JA: over k instructions. */
  JUMP: 0x05,
  /** BPF_JMP | BPF_K with the condition: over jt instructions if it holds, else over jf. */
  JUMP_EQUAL: 0x15,
  JUMP_GREATER: 0x25,
  JUMP_GREATER_EQUAL: 0x35,
  JUMP_ANY: 0x45,
  /** BPF_RET | BPF_K. */
  RETURN: 0x06,
} as const;

export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** BPF_MAXINSNS, uapi/linux/bpf_common.h. */
export const INSTRUCTIONS_MAX = 4096;
/** What a conditional jump's eight bits can hold. */
export const OFFSET_MAX = 255;

/** `struct sock_filter`, uapi/linux/filter.h. */
export const SockFilter = struct({ code: u16, jt: u8, jf: u8, k: u32 });

/** A program's bytes as seccomp(2) takes them. */
export function encode(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(program.length * SockFilter.size);
  const view = new DataView(bytes.buffer);
  program.forEach((instruction, index) => {
    SockFilter.set(view, index * SockFilter.size, instruction);
  });
  return bytes;
}
