/** The host side of the file system device over real files: what keeps it in its directory, also where no jail does. */
import assert from 'node:assert/strict';
import { linkSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { FileType, HostStat } from '#devices/virtio/fs/host-fs.ts';
import { LinuxHost } from '#devices/virtio/fs/linux-host.ts';
import { IoVectors } from '#disk/io-vectors.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { Errno } from '#sys/syscall-error.ts';

const { PATH, DIRECTORY, RDONLY, RDWR, WRONLY } = OpenFlag;
const RACES = 3000;
const name = (text: string): Uint8Array => Buffer.from(`${text}\0`);

/** A shared directory beside one with a secret. */
class Shared implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'crosvm-host-'));
  readonly path = join(this.folder, 'shared');
  readonly memory = GuestMemory.create([{ start: 0, sizeBytes: 0x1000 }]);
  readonly stat = new HostStat();
  readonly #root: Fd;
  readonly #self = Fd.open('/proc/self/fd', PATH | DIRECTORY);
  readonly host: LinuxHost;

  constructor() {
    mkdirSync(this.path);
    mkdirSync(join(this.folder, 'outside'));
    writeFileSync(join(this.folder, 'outside/secret'), 'secret');
    this.#root = Fd.open(this.path, PATH | DIRECTORY);
    this.host = new LinuxHost(this.#root.fd, this.#self.fd);
  }

  lookup(text: string, directory: number = this.host.root): number {
    return this.host.lookup({ directory, name: name(text) });
  }

  /** What a file begins with. */
  read(file: number): string {
    const vectors = new IoVectors(this.memory.slice(0, 0x1000), 4);
    vectors.push(0, 100);
    const count = this.host.read(file, vectors, 0);
    return Buffer.from(this.memory.slice(0, 0x1000).bytes.subarray(0, Math.max(0, count))).toString();
  }

  [Symbol.dispose](): void {
    this.#root.close();
    this.#self.close();
    this.memory.close();
    rmSync(this.folder, { recursive: true });
  }
}

describe('the host side of a shared directory', () => {
  test('a symbolic link is itself, wherever it leads to, and is not opened or gone through', () => {
    using shared = new Shared();
    const { host, stat } = shared;
    for (const target of ['/etc/passwd', '../outside', '/proc/self/root', '.']) {
      symlinkSync(target, join(shared.path, 'link'));
      const link = shared.lookup('link');
      assert.ok(link >= 0);
      host.stat(link, stat);
      assert.equal(stat.type, FileType.SYMLINK);
      const text = Buffer.alloc(100);
      assert.equal(text.toString('utf8', 0, host.readlink(link, text)), target);
      assert.equal(host.reopen(link, RDONLY), -Errno.ELOOP);
      assert.equal(shared.lookup('secret', link), -Errno.ENOTDIR);
      const place = { directory: host.root, name: name('link') };
      assert.equal(host.create(place, RDWR, 0o600), -Errno.EEXIST);
      assert.equal(host.mkdir({ directory: link, name: name('x') }, 0o700), -Errno.ENOTDIR);
      assert.equal(host.unlink(place), 0);
      host.close(link);
    }
  });

  test('names that lead out or through are refused by the kernel too', () => {
    using shared = new Shared();
    symlinkSync('../outside', join(shared.path, 'link'));
    const { EXDEV, ELOOP } = { EXDEV: 18, ELOOP: Errno.ELOOP };
    assert.equal(shared.lookup('..'), -EXDEV);
    assert.equal(shared.lookup('../outside/secret'), -EXDEV);
    assert.equal(shared.lookup('/etc/passwd'), -EXDEV);
    assert.equal(shared.lookup('link/secret'), -ELOOP);
  });

  test('what is neither a file nor a directory waits for nobody', () => {
    using shared = new Shared();
    const { host } = shared;
    assert.equal(host.mknod({ directory: host.root, name: name('fifo') }, FileType.FIFO | 0o600), 0);
    const handle = shared.lookup('fifo');
    const fd = host.reopen(handle, RDONLY);
    assert.ok(fd >= 0, 'without a writer, and at once');
    host.close(fd);
    assert.equal(host.reopen(handle, WRONLY), -Errno.ENXIO);
    host.close(handle);
  });

  test('a handle stays with its inode, renamed or removed', () => {
    using shared = new Shared();
    const { host, stat } = shared;
    writeFileSync(join(shared.path, 'a'), 'first');
    const handle = shared.lookup('a');
    renameSync(join(shared.path, 'a'), join(shared.path, 'b'));
    writeFileSync(join(shared.path, 'a'), 'second');
    rmSync(join(shared.path, 'b'));
    const file = host.reopen(handle, RDWR);
    assert.equal(shared.read(file), 'first');
    assert.equal(host.chmod(handle, 0o640), 0);
    host.stat(handle, stat);
    assert.equal(stat.mode & 0o777, 0o640);
    for (const fd of [handle, file]) host.close(fd);
  });

  test('links, attributes and times are set by handle', () => {
    using shared = new Shared();
    const { host } = shared;
    writeFileSync(join(shared.path, 'a'), 'text');
    const handle = shared.lookup('a');
    const place = (text: string) => ({ directory: host.root, name: name(text) });
    assert.equal(host.link(handle, place('b')), 0);
    linkSync(join(shared.path, 'b'), join(shared.path, 'c'));
    assert.equal(host.rename(place('c'), place('b'), 1), -Errno.EEXIST);
    assert.equal(host.rename(place('c'), place('d'), 0), 0);
    const times = new Uint8Array(new BigInt64Array([5n, 0n, 6n, 0n]).buffer);
    assert.equal(host.utimens(handle, times), 0);
    host.stat(handle, shared.stat);
    assert.equal(shared.stat.view.getBigInt64(112, true), 6n);
    const file = host.reopen(handle, RDONLY);
    const value = Buffer.alloc(10);
    assert.equal(host.setxattr(file, name('user.a'), Buffer.from('v'), 0), 0);
    assert.equal(host.getxattr(file, name('user.a'), value), 1);
    assert.equal(host.listxattr(file, value), 7);
    assert.equal(host.removexattr(file, name('user.a')), 0);
    assert.equal(host.getxattr(file, name('user.a'), value), -Errno.ENODATA);
    for (const fd of [handle, file]) host.close(fd);
  });

  test('a directory that somebody exchanges for a link all the time never leads outside', async () => {
    using shared = new Shared();
    mkdirSync(join(shared.path, 'swapped'));
    writeFileSync(join(shared.path, 'swapped/secret'), 'inside');
    symlinkSync('../outside', join(shared.path, 'link'));
    const worker = new Worker(SWAPPER, { eval: true, workerData: shared.path });
    await new Promise((resolve) => worker.once('message', resolve));
    const seen = new Map<string, number>();
    for (let at = 0; at < RACES; at++) {
      const what = attempt(shared);
      seen.set(what, (seen.get(what) ?? 0) + 1);
    }
    await worker.terminate();
    assert.deepEqual(
      [...seen.keys()].filter((what) => what !== 'inside' && what !== 'refused'),
      [],
    );
  });
});

const SWAPPER = `
const { parentPort, workerData } = require('node:worker_threads');
const { renameSync } = require('node:fs');
const at = (name) => workerData + '/' + name;
parentPort.postMessage('ready');
for (;;) {
  renameSync(at('swapped'), at('away'));
  renameSync(at('link'), at('swapped'));
  renameSync(at('swapped'), at('link'));
  renameSync(at('away'), at('swapped'));
}`;

/** Reads the file in the directory, step by step as the guest does. */
function attempt(shared: Shared): string {
  const { host } = shared;
  const directory = shared.lookup('swapped');
  if (directory < 0) return 'refused';
  const handle = shared.lookup('secret', directory);
  host.close(directory);
  if (handle < 0) return 'refused';
  const file = host.reopen(handle, RDONLY);
  const content = file < 0 ? 'refused' : shared.read(file);
  for (const fd of file < 0 ? [handle] : [handle, file]) host.close(fd);
  return content;
}
