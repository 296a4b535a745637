/** Programs of the host at the other end of a machine's streams. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';

const LIMIT_MS = 240_000;
const LOOK_MS = 20;

/** Listens at a Unix socket for one connection of the machine, and keeps what it got. */
export class Peer implements AsyncDisposable {
  readonly path: string;
  readonly #server: Server;
  #socket: Socket | undefined;
  #text = '';
  /** What is before was matched by an earlier `waitFor`. */
  #matchedEnd = 0;

  static async listen(path: string): Promise<Peer> {
    const peer = new Peer(path);
    await once(peer.#server, 'listening');
    return peer;
  }

  private constructor(path: string) {
    this.path = path;
    this.#server = createServer((socket) => {
      this.#socket = socket;
      socket.on('data', (chunk) => (this.#text += chunk.toString('latin1')));
    }).listen(path);
  }

  /** Waits until as much as `text` has come, and compares it. */
  async expect(text: string): Promise<void> {
    const deadlineMs = performance.now() + LIMIT_MS;
    while (this.#text.length < text.length && performance.now() < deadlineMs) await setTimeout(LOOK_MS);
    assert.equal(this.#text, text);
  }

  /** Waits until what has come after the last match matches. */
  async waitFor(pattern: RegExp): Promise<void> {
    const deadlineMs = performance.now() + LIMIT_MS;
    for (;;) {
      const text = this.#text.slice(this.#matchedEnd);
      const match = pattern.exec(text);
      if (match !== null) {
        this.#matchedEnd += match.index + match[0].length;
        return;
      }
      assert.ok(performance.now() < deadlineMs, `nothing that matches ${pattern} comes: ${text}`);
      await setTimeout(LOOK_MS);
    }
  }

  send(text: string): void {
    this.#socket?.write(text);
  }

  hangUp(): void {
    this.#socket?.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hangUp();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
