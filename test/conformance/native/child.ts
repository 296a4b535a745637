/** The process that runs cases on the host's processor: reads messages of cases from stdin, writes results to stdout. */
import { readSync, writeSync } from 'node:fs';
import { decodeCases, encodeResults, Messages } from '../wire.ts';
import { Processor } from './processor.ts';

function writeAll(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at, bytes.length - at);
}

const processor = Processor.start();
const messages = new Messages();
const piece = new Uint8Array(2 ** 16);
for (let count = readSync(0, piece); count > 0; count = readSync(0, piece)) {
  messages.add(piece.subarray(0, count));
  for (let message = messages.next(); message; message = messages.next()) {
    const results = decodeCases(message).map((testCase) => processor.run(testCase));
    writeAll(encodeResults(results));
  }
}
