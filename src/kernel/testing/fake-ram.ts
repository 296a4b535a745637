import assert from 'node:assert/strict';
import type { GuestRam } from '../guest-ram.ts';

/** Guest memory for tests: an array per region. An access outside fails the test. */
export class FakeRam implements GuestRam {
  readonly regions: readonly { readonly guestAddress: number; readonly sizeBytes: number }[];
  readonly #bytes: readonly Uint8Array[];

  constructor(...regions: { guestAddress: number; sizeBytes: number }[]) {
    this.regions = regions;
    this.#bytes = regions.map(({ sizeBytes }) => new Uint8Array(sizeBytes).fill(0xcc));
  }

  contains(address: number, sizeBytes: number): boolean {
    return this.#find(address, sizeBytes) !== undefined;
  }

  writeBytes(address: number, source: Uint8Array): void {
    this.bytes(address, source.length).set(source);
  }

  fill(address: number, sizeBytes: number, byte: number): void {
    this.bytes(address, sizeBytes).fill(byte);
  }

  /** The memory itself; what was never written is 0xcc. */
  bytes(address: number, sizeBytes: number): Uint8Array {
    const found = this.#find(address, sizeBytes);
    assert.ok(found, `access outside RAM: ${sizeBytes} bytes at ${address}`);
    return found;
  }

  #find(address: number, sizeBytes: number): Uint8Array | undefined {
    assert.ok(Number.isSafeInteger(address) && Number.isSafeInteger(sizeBytes) && address >= 0 && sizeBytes >= 0);
    const index = this.regions.findIndex(
      (region) => address >= region.guestAddress && address + sizeBytes <= region.guestAddress + region.sizeBytes,
    );
    const region = this.regions[index];
    return (
      region && this.#bytes[index]?.subarray(address - region.guestAddress, address - region.guestAddress + sizeBytes)
    );
  }
}
