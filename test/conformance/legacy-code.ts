/** Whether a host runs legacy code: one whose virtual machine monitor runs guests without hardware may have 64-bit user code alone. */
import { type Engine, initialState } from './case.ts';

const NOP = 0x90;

/** Tries it with an instruction that does nothing. */
export async function runsLegacyCode(host: Engine): Promise<boolean> {
  const [result] = await host.run([
    {
      name: 'compatibility mode',
      mnemonic: 'NOP',
      bits: 32,
      code: Uint8Array.of(NOP),
      state: initialState(),
      patches: [],
      details: null,
    },
  ]);
  return result !== undefined && result.failure === null && result.exception === null;
}

/** For who reads the outcome. */
export const NO_LEGACY_CODE = 'this host has no compatibility mode: cases of legacy code are left out';
