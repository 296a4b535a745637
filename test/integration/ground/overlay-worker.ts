/** Maps the memory that it is given over a WebAssembly memory of its own and tells its byte 9, twice. */
import { parentPort, workerData } from 'node:worker_threads';
import { GuestMemory, type GuestMemoryDescription } from '#memory/guest-memory.ts';
import { overlayGuestMemory } from '#memory/wasm-overlay.ts';

const { fd, regions } = workerData as GuestMemoryDescription;
const memory = GuestMemory.fromFd(fd, regions);
const wasm = new WebAssembly.Memory({ initial: 3, maximum: 3 });
overlayGuestMemory(wasm, 65536, memory);
const byte = (): number => new Uint8Array(wasm.buffer)[65536 + 9] as number;
parentPort?.postMessage(byte());
parentPort?.once('message', () => {
  parentPort?.postMessage(byte());
  memory.close();
});
