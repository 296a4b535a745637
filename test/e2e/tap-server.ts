/**
 * The other end of a guest's tap, in the network namespace of the machine: gives out a file by HTTP at the first port, takes as much at
 * the second and answers with its hash. Sends frames for another than the guest when that is asked for. Ends itself when it has done both, or after a while.
 */
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';

export const TAP_ADDRESS = '192.168.77.1';
export const DOWNLOAD_PORT = 8001;
export const UPLOAD_PORT = 8002;
/** At an address of Ethernet that nobody has. */
export const OTHER_ADDRESS = '192.168.77.9';
export const OTHER_MAC = '02:00:00:00:00:99';
export const OTHER_FRAMES = 100;
const DISCARD_PORT = 9;
export const TAP_FILE_BYTES = 4 << 20;
const LIFE_MS = 120_000;

/** Bytes that repeat only after the whole file. */
export function tapFile(): Buffer {
  const words = Uint32Array.from({ length: TAP_FILE_BYTES / 4 }, (_, at) => Math.imul(at + 1, 0x9e3779b1));
  return Buffer.from(words.buffer);
}

async function sendToOther(): Promise<void> {
  const socket = createSocket('udp4');
  const send = () =>
    new Promise((sent) => {
      socket.send('for another', DISCARD_PORT, OTHER_ADDRESS, sent);
    });
  for (let count = 0; count < OTHER_FRAMES; count++) await send();
  socket.close();
}

function serve(readyPath: string): void {
  setTimeout(() => process.exit(1), LIFE_MS).unref();
  const file = tapFile();
  const download = createHttpServer(async ({ url }, response) => {
    if (url === '/others') await sendToOther();
    response.end(url === '/others' ? '' : file);
  });
  const upload = createServer((socket) => {
    const hash = createHash('sha256');
    let sizeBytes = 0;
    socket.on('data', (chunk) => {
      hash.update(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes < TAP_FILE_BYTES) return;
      socket.end(`${hash.digest('hex')}\n`, () => process.exit(0));
    });
  });
  download.listen(DOWNLOAD_PORT, TAP_ADDRESS, () => {
    upload.listen(UPLOAD_PORT, TAP_ADDRESS, () => writeFileSync(readyPath, ''));
  });
}

if (import.meta.main) serve(process.argv[2] ?? '');
