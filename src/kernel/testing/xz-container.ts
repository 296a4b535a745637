import { crc32 } from 'node:zlib';

/** Makes the CRC32s of the stream header and of the first block's header right again, so that a changed field is looked at. */
export function withXzHeaderChecks(container: Uint8Array): Uint8Array {
  const repaired = Uint8Array.from(container);
  const view = new DataView(repaired.buffer);
  const write = (from: number, to: number): void => {
    if (to + 4 <= repaired.length) view.setUint32(to, crc32(repaired.subarray(from, to)), true);
  };
  write(6, 8);
  const blockStart = 12;
  const blockSize = repaired[blockStart];
  if (blockSize !== undefined) write(blockStart, blockStart + blockSize * 4);
  return repaired;
}
