import { MsgError } from '#msg-socket/errors.ts';
import type { Client } from '#msg-socket/protocol.ts';
import type { HasFd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { CodedError } from '#util/errors.ts';
import type { PciBusDevice } from '../pci/pci-device.ts';
import { NOBODY } from '../pci/registers.ts';
import { ACCESS_BYTES_MAX, DeviceProxy } from './device-protocol.ts';

/** A device that has not answered for so long hangs. */
const ANSWER_TIMEOUT_MS = 5000;

export interface ProxyDeviceOptions {
  readonly debugLabel: string;
  /** The socket to the device's process, which stays the caller's: every vCPU thread has a proxy of its own over it. */
  readonly socket: HasFd;
  /** One word, shared by all proxies of the device: the number of the last request. */
  readonly sequence: Uint32Array;
  /** The device hangs or is gone: the machine cannot go on. Called for every access that fails. */
  readonly onFailure: (label: string, reason: string) => void;
  /** By default 5000. It is the socket's: of several proxies over one, the last one's holds. */
  readonly answerTimeoutMs?: number;
}

/**
 * The bus's side of a device in another process. The bus asks one thing at a time (PciRoot locks the function). What cannot be
 * asked reads as all ones.
 */
export class ProxyDevice implements PciBusDevice {
  readonly debugLabel: string;
  readonly #client: Client<typeof DeviceProxy>;
  readonly #onFailure: ProxyDeviceOptions['onFailure'];
  readonly #answerTimeoutMs: number;
  /** Filled anew for each write. */
  readonly #data = new Uint8Array(ACCESS_BYTES_MAX);

  constructor({ debugLabel, socket, sequence, onFailure, answerTimeoutMs = ANSWER_TIMEOUT_MS }: ProxyDeviceOptions) {
    this.debugLabel = debugLabel;
    this.#onFailure = onFailure;
    this.#answerTimeoutMs = answerTimeoutMs;
    const timeouts = { sendMs: answerTimeoutMs, receiveMs: answerTimeoutMs };
    this.#client = DeviceProxy.client({ borrowed: socket }, { ...timeouts, sequence });
  }

  readConfigRegister(register: number): number {
    return this.#ask(() => this.#client.readConfig({ register }).value) ?? NOBODY;
  }

  writeConfigRegister(register: number, offset: number, data: Uint8Array): void {
    const sizeBytes = this.#take(data);
    this.#ask(() => this.#client.writeConfig({ register, offset, sizeBytes, data: this.#data }));
  }

  readBar(bar: number, offset: number, data: Uint8Array): void {
    const answer = this.#ask(() => this.#client.readBar({ bar, offset, sizeBytes: data.length }).data);
    if (answer === undefined) data.fill(NOBODY & 0xff);
    else data.set(answer.subarray(0, data.length));
  }

  writeBar(bar: number, offset: number, data: Uint8Array): void {
    const sizeBytes = this.#take(data);
    this.#ask(() => this.#client.writeBar({ bar, offset, sizeBytes, data: this.#data }));
  }

  suspend(): void {
    this.#ask(() => this.#client.suspend());
  }

  resume(): void {
    this.#ask(() => this.#client.resume());
  }

  #take(data: Uint8Array): number {
    assert(data.length <= ACCESS_BYTES_MAX, 'an access of a guest has at most 8 bytes');
    this.#data.set(data);
    return data.length;
  }

  #ask<Answer>(question: () => Answer): Answer | undefined {
    try {
      return question();
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      this.#onFailure(this.debugLabel, this.#reasonOf(error));
      return undefined;
    }
  }

  #reasonOf(error: CodedError): string {
    if (!(error instanceof MsgError)) return error.message;
    if (error.code === 'TIMED_OUT') return `its process has not answered for ${this.#answerTimeoutMs / 1000} s`;
    return error.code === 'DISCONNECTED' ? 'its process is gone' : `its process answered wrongly: ${error.message}`;
  }
}
