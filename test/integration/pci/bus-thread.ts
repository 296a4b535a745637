/** A vCPU's accesses to the shared bus; moves the BAR to and fro. Posts how many accesses the device must have seen. */
import { parentPort, workerData } from 'node:worker_threads';
import { BAR_ADDRESS, BAR_BYTES, createRoot, FUNCTION_NUMBER, type SharedBus } from './shared-bus.ts';

const { shared, index, rounds } = workerData as { shared: SharedBus; index: number; rounds: number };
const root = createRoot(shared);
const BAR0 = 0x10;
const data = new Uint8Array(4);
let expected = 0;

for (let round = 0; round < rounds; round++) {
  root.readConfig(FUNCTION_NUMBER, 0, data);
  root.readConfig(FUNCTION_NUMBER, 2, data);
  expected += 3;
  if (index === 0) {
    new DataView(data.buffer).setUint32(0, BAR_ADDRESS + (round % 4) * BAR_BYTES, true);
    root.writeConfig(FUNCTION_NUMBER, BAR0, data);
    expected++;
  }
  // Wherever the BAR is at the moment, no more than one of these finds it; each one that does reads 0.
  for (let page = 0; page < 4; page++) {
    root.memory.read(BAR_ADDRESS + page * BAR_BYTES, data);
    if (data[0] === 0) expected++;
  }
}
parentPort?.postMessage(expected);
