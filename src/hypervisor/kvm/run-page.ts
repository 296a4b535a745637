import { MemoryMapping } from '#memory/memory-mapping.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber } from '#util/struct.ts';
import { KvmExitIo } from './abi.ts';
import { Run, RunInternal, RunIo, RunMmio } from './abi-structs.ts';

const OWN = Run.size;
const io = RunIo.fields;
const mmio = RunMmio.fields;
const MMIO_DATA = OWN + mmio.data.offset;
const MMIO_DATA_BYTES = mmio.data.size;

/** What an exit that is a device's access asks for. */
export interface RunBus {
  readPort(port: number, data: Uint8Array): void;
  writePort(port: number, data: Uint8Array): void;
  readMmio(address: number, data: Uint8Array): void;
  writeMmio(address: number, data: Uint8Array): void;
}

/** The memory that a vCPU shares with the kernel, `struct kvm_run`. Nothing is allocated by an exit. */
export class RunPage implements Disposable {
  readonly view: DataView;
  readonly #mapping: MemoryMapping;
  readonly #bytes: Uint8Array;
  /** Where the data of port accesses are; it never moves, but the kernel says so at each. */
  #portDataOffset = 0;
  /** The data of one port access, by its size. */
  #portData: readonly Uint8Array[] = [];
  /** For all but the first access of a string instruction. */
  readonly #element: readonly Uint8Array[] = [1, 2, 3, 4].map((size) => new Uint8Array(size));
  /** The data of a memory access: by its size, less 1, and of single bytes. */
  readonly #mmioData: readonly Uint8Array[];
  readonly #mmioBytes: readonly Uint8Array[];

  /** Throws SyscallError. */
  constructor(fd: number, sizeBytes: number) {
    this.#mapping = MemoryMapping.fromFd({ fd, sizeBytes });
    this.#bytes = this.#mapping.views.bytes;
    this.view = this.#mapping.views.data;
    const sizes = Array.from({ length: MMIO_DATA_BYTES }, (_, index) => index);
    this.#mmioData = sizes.map((index) => this.#bytes.subarray(MMIO_DATA, MMIO_DATA + index + 1));
    this.#mmioBytes = sizes.map((index) => this.#bytes.subarray(MMIO_DATA + index, MMIO_DATA + index + 1));
  }

  get exitReason(): number {
    return Run.fields.exitReason.get(this.view, 0);
  }

  /** KVM_EXIT_IO: `count` accesses of one port, as IN, OUT, INS and OUTS make them. */
  doPortAccess(bus: RunBus): void {
    const { view } = this;
    const size = io.size.get(view, OWN);
    const port = io.port.get(view, OWN);
    const count = io.count.get(view, OWN);
    const isOut = io.direction.get(view, OWN) === KvmExitIo.OUT;
    const offset = u64AsNumber.get(view, OWN + io.dataOffset.offset);
    if (offset !== this.#portDataOffset) this.#findPortData(offset);
    const data = this.#portData[size - 1] as Uint8Array;
    if (count !== 1) this.#doString(bus, { port, size, count, isOut });
    else if (isOut) bus.writePort(port, data);
    else bus.readPort(port, data);
  }

  /** KVM_EXIT_MMIO. A size that is no power of two is what an access has left on one side of a page's end. */
  doMmio(bus: RunBus): void {
    const { view } = this;
    const address = mmio.physAddr.get(view, OWN);
    const size = mmio.len.get(view, OWN);
    const isWrite = mmio.isWrite.get(view, OWN) !== 0;
    if ((size & (size - 1)) === 0) {
      const data = this.#mmioData[size - 1] as Uint8Array;
      if (isWrite) bus.writeMmio(address, data);
      else bus.readMmio(address, data);
      return;
    }
    for (let index = 0; index < size; index++) {
      const data = this.#mmioBytes[index] as Uint8Array;
      if (isWrite) bus.writeMmio(address + index, data);
      else bus.readMmio(address + index, data);
    }
  }

  /** The words of KVM_EXIT_INTERNAL_ERROR. */
  internalData(): bigint[] {
    const count = RunInternal.fields.ndata.get(this.view, OWN);
    return [...RunInternal.fields.data.get(this.view, OWN)].slice(0, count);
  }

  [Symbol.dispose](): void {
    if (this.#mapping.isOpen) this.#mapping.close();
  }

  #findPortData(offset: number): void {
    assert(offset + 4 <= this.#bytes.length, 'data inside of the shared memory');
    this.#portDataOffset = offset;
    this.#portData = [1, 2, 3, 4].map((size) => this.#bytes.subarray(offset, offset + size));
  }

  #doString(bus: RunBus, access: { port: number; size: number; count: number; isOut: boolean }): void {
    const { port, size, count, isOut } = access;
    const element = this.#element[size - 1] as Uint8Array;
    for (let index = 0; index < count; index++) {
      const at = this.#portDataOffset + index * size;
      if (isOut) for (let byte = 0; byte < size; byte++) element[byte] = this.#bytes[at + byte] as number;
      if (isOut) bus.writePort(port, element);
      else {
        bus.readPort(port, element);
        this.#bytes.set(element, at);
      }
    }
  }
}
