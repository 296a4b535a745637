import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { OpenFlag } from '#sys/file.ts';
import { Errno } from '#sys/syscall-error.ts';
import { viewOf } from '#util/struct.ts';
import {
  AccessIn,
  Attr,
  AttrOut,
  BatchForgetIn,
  CopyFileRangeIn,
  CreateIn,
  Dirent,
  EntryOut,
  FallocateIn,
  FileIn,
  ForgetIn,
  ForgetOne,
  FsConfigSpace,
  GetattrIn,
  GetxattrIn,
  InHeader,
  InitFlag,
  InitOut,
  LinkIn,
  LseekIn,
  MkdirIn,
  MknodIn,
  Opcode,
  OpenIn,
  OpenOut,
  OpenReply,
  QUEUE_SIZES,
  ReadIn,
  Rename2In,
  RenameIn,
  ROOT_ID,
  SetAttr,
  SetattrIn,
  SetxattrIn,
  StatfsOut,
  WriteIn,
  WriteOut,
} from './constants.ts';
import { FileType } from './host-fs.ts';
import { ownerIds } from './ids.ts';
import { FuseClient, type FuseReply } from './testing/fuse-client.ts';

const REGULAR = FileType.REGULAR | 0o644;
const nodeOf = ({ view }: FuseReply): number => EntryOut.fields.nodeid.get(view, 0);
const attrOf = ({ data, view }: FuseReply) => Attr.decode(view, data.length === AttrOut.size ? 16 : 40);
const sizeOf = (reply: FuseReply): number => Number(viewOf(attrOf(reply).size).getBigUint64(0, true));
const fhOf = ({ view }: FuseReply, at = 0): number => OpenOut.fields.fh.get(view, at);
const text = ({ data }: FuseReply): string => Buffer.from(data).toString();

const lookup = (client: FuseClient, name: string, nodeid = ROOT_ID): FuseReply =>
  client.ask({ opcode: Opcode.LOOKUP, nodeid, parts: [name] });
const open = (client: FuseClient, nodeid: number, flags: number, opcode: number = Opcode.OPEN): FuseReply =>
  client.ask({ opcode, nodeid, parts: [OpenIn.encode({ flags })] });
const create = (client: FuseClient, name: string, flags: number = OpenFlag.RDWR, more = {}): FuseReply =>
  client.ask({ opcode: Opcode.CREATE, parts: [CreateIn.encode({ flags, mode: REGULAR }), name], ...more });
const read = (
  client: FuseClient,
  fh: number,
  size: number,
  more: { offset?: number; opcode?: number } = {},
): FuseReply => {
  const { offset = 0, opcode = Opcode.READ } = more;
  return client.ask({ opcode, parts: [ReadIn.encode({ fh, size, offset })], room: size });
};
const write = (client: FuseClient, fh: number, content: string, offset = 0): FuseReply => {
  const bytes = Buffer.from(content);
  return client.ask({ opcode: Opcode.WRITE, parts: [WriteIn.encode({ fh, offset, size: bytes.length }), bytes] });
};
const setattr = (client: FuseClient, nodeid: number, values: Parameters<typeof SetattrIn.encode>[0]): FuseReply =>
  client.ask({ opcode: Opcode.SETATTR, nodeid, parts: [SetattrIn.encode(values)] });

/** No descriptor is left open, and nothing was asked of the host that must not be. */
function end(client: FuseClient): void {
  client.device.reset();
  assert.deepEqual([client.host.misuses, client.host.openCount], [[], 0]);
}

describe('what the file system device offers', () => {
  test('the configuration has the tag, padded, and the number of request queues', () => {
    using client = new FuseClient({ tag: 'ä' });
    const data = new Uint8Array(48);
    client.device.readConfig(0, data);
    assert.deepEqual([...data.subarray(0, 3)], [0xc3, 0xa4, 0]);
    assert.deepEqual([FsConfigSpace.size, FsConfigSpace.decode(viewOf(data)).numRequestQueues], [40, 1]);
    client.device.writeConfig(0, data);
    assert.deepEqual([client.device.features(), client.device.queueMaxSizes], [0n, QUEUE_SIZES]);
  });
});

describe('INIT', () => {
  const agreed = (changes: Parameters<typeof FuseClient.started>[0]): number => {
    using client = new FuseClient(changes);
    return InitOut.decode(client.init(0xffff_ffff).view).flags;
  };

  test('agrees on the version and on what the options say', () => {
    using client = new FuseClient();
    const reply = client.init(InitFlag.MAX_PAGES);
    const values = InitOut.decode(reply.view);
    assert.deepEqual([reply.error, values.major, values.minor, values.flags], [0, 7, 33, InitFlag.MAX_PAGES]);
    assert.deepEqual([values.maxWrite, values.maxPages, values.maxReadahead], [1 << 20, 256, 7]);
    const { AUTO_INVAL_DATA, CACHE_SYMLINKS, WRITEBACK_CACHE } = InitFlag;
    const mask = AUTO_INVAL_DATA | CACHE_SYMLINKS | WRITEBACK_CACHE;
    assert.equal(agreed({}) & mask, AUTO_INVAL_DATA);
    assert.equal(agreed({ cache: 'always', writeback: true }) & mask, CACHE_SYMLINKS | WRITEBACK_CACHE);
  });

  test('an older guest is refused, a newer one asked again', () => {
    using client = new FuseClient();
    assert.equal(client.init(0, { minor: 30 }).error, -Errno.EPROTO);
    assert.equal(client.init(0, { major: 6 }).error, -Errno.EPROTO);
    assert.equal(InitOut.decode(client.init(0, { major: 8 }).view).major, 7);
    assert.equal(lookup(client, 'x').error, -Errno.EIO);
  });

  test('another INIT, DESTROY and a reset forget everything', () => {
    using client = FuseClient.started();
    const { view } = create(client, 'f');
    client.init(0);
    assert.equal(read(client, fhOf({ view } as FuseReply, EntryOut.size), 1).error, -Errno.EBADF);
    assert.equal(client.host.openCount, 0);
    create(client, 'g');
    assert.equal(client.ask({ opcode: Opcode.DESTROY }).error, 0);
    assert.equal(client.host.openCount, 0);
    assert.equal(lookup(client, 'g').error, -Errno.EIO);
    end(client);
  });
});

describe('names', () => {
  test('LOOKUP tells of an inode once, and FORGET closes it when all lookups are forgotten', () => {
    using client = FuseClient.started();
    client.host.put('f', REGULAR, 'abc');
    const first = lookup(client, 'f');
    const id = nodeOf(first);
    assert.deepEqual([first.error, sizeOf(first), nodeOf(lookup(client, 'f'))], [0, 3, id]);
    const { entryValid, attrValid } = EntryOut.decode(first.view);
    assert.deepEqual([entryValid, attrValid], [5, 5]);
    const forget = (nlookup: number) =>
      client.send({ opcode: Opcode.FORGET, nodeid: id, parts: [ForgetIn.encode({ nlookup })], room: 'none' });
    assert.equal(forget(1), undefined);
    assert.equal(client.host.openCount, 1);
    assert.equal(forget(Number.MAX_SAFE_INTEGER), undefined);
    assert.equal(client.host.openCount, 0);
    assert.notEqual(nodeOf(lookup(client, 'f')), id);
    assert.equal(
      client.ask({ opcode: Opcode.GETATTR, nodeid: id, parts: [GetattrIn.encode({})] }).error,
      -Errno.ENOENT,
    );
    assert.deepEqual(client.interrupt.resets, []);
    end(client);
  });

  test('BATCH_FORGET takes many, and stops where the request ends', () => {
    using client = FuseClient.started();
    client.host.put('f', REGULAR);
    client.host.put('g', REGULAR);
    const ones = [lookup(client, 'f'), lookup(client, 'g')].map((each) =>
      ForgetOne.encode({ nodeid: nodeOf(each), nlookup: 1 }),
    );
    const parts = [
      BatchForgetIn.encode({ count: 0xffff_ffff }),
      ...ones,
      ForgetOne.encode({ nodeid: ROOT_ID, nlookup: 9 }),
    ];
    assert.equal(client.send({ opcode: Opcode.BATCH_FORGET, parts, room: 'none' }), undefined);
    assert.equal(client.host.openCount, 0);
    assert.equal(lookup(client, 'f').error, 0);
    end(client);
  });

  for (const name of ['', '.', '..', 'a/b', '/etc/passwd', '../x', 'x'.repeat(1021)]) {
    test(`${JSON.stringify(name.slice(0, 20))} is no name`, () => {
      using client = FuseClient.started();
      const none = [lookup(client, name), create(client, name)];
      none.push(client.ask({ opcode: Opcode.MKDIR, parts: [MkdirIn.encode({}), name] }));
      none.push(
        client.ask({ opcode: Opcode.UNLINK, parts: [name] }),
        client.ask({ opcode: Opcode.RMDIR, parts: [name] }),
      );
      none.push(client.ask({ opcode: Opcode.SYMLINK, parts: [name, 'target'] }));
      none.push(client.ask({ opcode: Opcode.RENAME, parts: [RenameIn.encode({ newdir: ROOT_ID }), 'x', name] }));
      assert.deepEqual(
        none.map(({ error }) => error),
        none.map(() => -Errno.EINVAL),
      );
      end(client);
    });
  }

  test('a name without its NUL is none', () => {
    using client = FuseClient.started();
    assert.equal(client.ask({ opcode: Opcode.LOOKUP, parts: [Buffer.from('abc')] }).error, -Errno.EINVAL);
    assert.equal(client.ask({ opcode: Opcode.LOOKUP }).error, -Errno.EINVAL);
  });

  test('directories, links and special files are made, moved and removed', () => {
    using client = FuseClient.started();
    const { rootNode } = client.host;
    const dir = client.ask({ opcode: Opcode.MKDIR, parts: [MkdirIn.encode({ mode: 0o1777 }), 'd'] });
    assert.deepEqual([dir.error, attrOf(dir).mode], [0, FileType.DIRECTORY | 0o1777]);
    const fifo = client.ask({ opcode: Opcode.MKNOD, parts: [MknodIn.encode({ mode: FileType.FIFO | 0o600 }), 'p'] });
    assert.equal(attrOf(fifo).mode, FileType.FIFO | 0o600);
    const symlink = client.ask({ opcode: Opcode.SYMLINK, parts: ['s', '/etc/passwd'] });
    assert.equal(text(client.ask({ opcode: Opcode.READLINK, nodeid: nodeOf(symlink) })), '/etc/passwd');
    const linked = client.ask({ opcode: Opcode.LINK, parts: [LinkIn.encode({ oldnodeid: nodeOf(fifo) }), 'q'] });
    assert.deepEqual([nodeOf(linked), attrOf(linked).nlink], [nodeOf(fifo), 2]);
    const newdir = nodeOf(dir);
    assert.equal(client.ask({ opcode: Opcode.RENAME, parts: [RenameIn.encode({ newdir }), 'q', 'r'] }).error, 0);
    assert.equal(client.ask({ opcode: Opcode.RMDIR, parts: ['d'] }).error, -Errno.ENOTEMPTY);
    const swap = Rename2In.encode({ newdir, flags: 2 });
    assert.equal(client.ask({ opcode: Opcode.RENAME2, parts: [swap, 's', 'r'] }).error, 0);
    assert.deepEqual([...rootNode.entries.keys()], ['d', 'p', 's']);
    const unknown = Rename2In.encode({ newdir, flags: 4 });
    assert.equal(client.ask({ opcode: Opcode.RENAME2, parts: [unknown, 's', 'r'] }).error, -Errno.EINVAL);
    assert.equal(client.ask({ opcode: Opcode.UNLINK, parts: ['s'] }).error, 0);
    assert.equal(client.ask({ opcode: Opcode.UNLINK, nodeid: newdir, parts: ['r'] }).error, 0);
    assert.equal(client.ask({ opcode: Opcode.RMDIR, parts: ['d'] }).error, 0);
    end(client);
  });

  test('devices are not made', () => {
    using client = FuseClient.started();
    for (const type of [FileType.CHARACTER, FileType.BLOCK]) {
      const parts = [MknodIn.encode({ mode: type | 0o600, rdev: 0x103 }), 'n'];
      assert.equal(client.ask({ opcode: Opcode.MKNOD, parts }).error, -Errno.EPERM);
    }
    assert.equal(
      client.ask({ opcode: Opcode.MKNOD, parts: [MknodIn.encode({ mode: 0o600 }), 'n'] }).error,
      -Errno.EINVAL,
    );
    end(client);
  });

  test('what is made belongs to who asked for it only where that is wanted; a set-group-ID directory keeps its group', () => {
    using client = FuseClient.started({ givesAway: true });
    const owner = { uid: 5, gid: 6 };
    assert.deepEqual(
      [attrOf(create(client, 'f', OpenFlag.RDWR, owner)).uid, client.host.rootNode.entries.get('f')?.gid],
      [5, 6],
    );
    client.host.rootNode.mode |= 0o2000;
    client.ask({ opcode: Opcode.MKDIR, parts: [MkdirIn.encode({}), 'd'], ...owner });
    assert.deepEqual([client.host.rootNode.entries.get('d')?.uid, client.host.rootNode.entries.get('d')?.gid], [5, 0]);
    using other = FuseClient.started();
    assert.equal(attrOf(create(other, 'f', OpenFlag.RDWR, owner)).uid, 0);
    end(client);
    end(other);
  });
});

describe('files', () => {
  test('CREATE, WRITE, READ, FSYNC, RELEASE', () => {
    using client = FuseClient.started();
    const made = create(client, 'f');
    const fh = fhOf(made, EntryOut.size);
    const written = write(client, fh, 'hello', 2);
    assert.equal(WriteOut.fields.size.get(written.view, 0), 5);
    assert.equal(text(read(client, fh, 100)), '\0\0hello');
    assert.equal(text(read(client, fh, 3, { offset: 3 })), 'ell');
    const { ino } = client.host.put('other', REGULAR);
    client.ask({ opcode: Opcode.FSYNC, parts: [FileIn.encode({ fh })] });
    client.ask({ opcode: Opcode.FSYNC, parts: [FileIn.encode({ fh, flags: 1 })] });
    assert.deepEqual(client.host.synced, [ino - 1, 1 - ino]);
    assert.equal(client.ask({ opcode: Opcode.FLUSH, parts: [FileIn.encode({ fh })] }).error, -Errno.ENOSYS);
    const release = { opcode: Opcode.RELEASE, parts: [FileIn.encode({ fh }), new Uint8Array(8)] };
    assert.deepEqual([client.ask(release).error, client.ask(release).error], [0, -Errno.EBADF]);
    end(client);
  });

  test('a file that is there already is opened, unless EXCL is asked for, and cut by TRUNC', () => {
    using client = FuseClient.started();
    const node = client.host.put('f', REGULAR, 'abc');
    assert.equal(create(client, 'f', OpenFlag.RDWR | OpenFlag.EXCL).error, -Errno.EEXIST);
    const made = create(client, 'f', OpenFlag.RDWR);
    assert.equal(text(read(client, fhOf(made, EntryOut.size), 9)), 'abc');
    create(client, 'f', OpenFlag.RDWR | OpenFlag.TRUNC);
    assert.equal(node.data.length, 0);
    client.host.put('d', FileType.DIRECTORY | 0o755);
    assert.equal(create(client, 'd').error, -Errno.EISDIR);
    end(client);
  });

  test('only regular files are opened', () => {
    using client = FuseClient.started();
    for (const [name, type, errno] of [
      ['d', FileType.DIRECTORY, Errno.EISDIR],
      ['s', FileType.SYMLINK, Errno.ELOOP],
      ['p', FileType.FIFO, Errno.ENXIO],
      ['u', FileType.SOCKET, Errno.ENXIO],
      ['c', FileType.CHARACTER, Errno.ENXIO],
      ['b', FileType.BLOCK, Errno.ENXIO],
    ] as const) {
      client.host.put(name, type | 0o777);
      assert.equal(open(client, nodeOf(lookup(client, name)), OpenFlag.RDONLY).error, -errno, name);
    }
    assert.equal(open(client, 77, 0).error, -Errno.ENOENT);
    client.host.put('f', REGULAR);
    const id = nodeOf(lookup(client, 'f'));
    assert.equal(open(client, id, 3).error, -Errno.EINVAL);
    assert.equal(open(client, id, 0, Opcode.OPENDIR).error, -Errno.ENOTDIR);
    end(client);
  });

  for (const [cache, file, directory] of [
    ['never', OpenReply.DIRECT_IO, 0],
    ['auto', 0, 0],
    ['always', OpenReply.KEEP_CACHE, OpenReply.KEEP_CACHE | OpenReply.CACHE_DIR],
  ] as const) {
    test(`cache=${cache} is in the answers`, () => {
      using client = FuseClient.started({ cache });
      client.host.put('f', REGULAR);
      const entry = lookup(client, 'f');
      assert.equal(EntryOut.fields.entryValid.get(entry.view, 0), cache === 'never' ? 0 : 5);
      const flags = (reply: FuseReply) => OpenOut.fields.openFlags.get(reply.view, 0);
      assert.equal(flags(open(client, nodeOf(entry), 0)), file);
      assert.equal(flags(open(client, ROOT_ID, 0, Opcode.OPENDIR)), directory);
    });
  }

  test('with a writeback cache files are opened for reading too, and not to append', () => {
    const appended = (writeback: boolean): string => {
      using client = FuseClient.started({ writeback });
      const node = client.host.put('f', REGULAR, 'ab');
      const flags = OpenFlag.WRONLY | OpenFlag.APPEND;
      write(client, fhOf(open(client, nodeOf(lookup(client, 'f')), flags)), 'X', 1);
      return Buffer.from(node.data).toString();
    };
    assert.deepEqual([appended(false), appended(true)], ['abX', 'aX']);
  });

  test('space, holes and copies', () => {
    using client = FuseClient.started();
    client.host.put('f', REGULAR, 'abcdef');
    const fh = fhOf(open(client, nodeOf(lookup(client, 'f')), OpenFlag.RDWR));
    const fallocate = (values: Parameters<typeof FallocateIn.encode>[0]) =>
      client.ask({ opcode: Opcode.FALLOCATE, parts: [FallocateIn.encode({ fh, length: 10, ...values })] }).error;
    assert.deepEqual([fallocate({}), fallocate({ mode: 0x20 })], [0, -Errno.EOPNOTSUPP]);
    assert.deepEqual([fallocate({ offset: 2 ** 53 - 1 }), fallocate({ fh: 99 })], [-Errno.EFBIG, -Errno.EBADF]);
    const lseek = (whence: number, offset = 2) =>
      client.ask({ opcode: Opcode.LSEEK, parts: [LseekIn.encode({ fh, offset, whence })] });
    assert.deepEqual([lseek(4).view.getUint32(0, true), lseek(3).view.getUint32(0, true)], [10, 2]);
    assert.deepEqual([lseek(0).error, lseek(3, 10).error], [-Errno.EINVAL, -Errno.ENXIO]);
    const copy = (values: Parameters<typeof CopyFileRangeIn.encode>[0]) =>
      client.ask({
        opcode: Opcode.COPY_FILE_RANGE,
        parts: [CopyFileRangeIn.encode({ fhIn: fh, fhOut: fh, ...values })],
      });
    assert.equal(WriteOut.fields.size.get(copy({ len: 3, offOut: 6 }).view, 0), 3);
    assert.equal(text(read(client, fh, 20)), 'abcdefabc\0');
    assert.deepEqual([copy({ flags: 1 }).error, copy({ fhOut: 5 }).error], [-Errno.EINVAL, -Errno.EBADF]);
    end(client);
  });

  test('offsets that no file has are refused', () => {
    using client = FuseClient.started();
    const fh = fhOf(create(client, 'f'), EntryOut.size);
    for (const offset of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      const readIn = ReadIn.encode({ fh, size: 1 });
      viewOf(readIn).setBigUint64(8, offset, true);
      assert.equal(client.ask({ opcode: Opcode.READ, parts: [readIn] }).error, -Errno.EINVAL);
      const writeIn = WriteIn.encode({ fh, size: 1 });
      viewOf(writeIn).setBigUint64(8, offset, true);
      assert.equal(client.ask({ opcode: Opcode.WRITE, parts: [writeIn, Buffer.from('x')] }).error, -Errno.EFBIG);
    }
    const short = WriteIn.encode({ fh, size: 2 });
    assert.equal(client.ask({ opcode: Opcode.WRITE, parts: [short, Buffer.from('x')] }).error, -Errno.EINVAL);
    end(client);
  });

  test('an error of the host is the answer', () => {
    using client = FuseClient.started();
    const fh = fhOf(create(client, 'f'), EntryOut.size);
    client.host.failure = -28;
    assert.deepEqual([write(client, fh, 'x').error, create(client, 'g').error], [-28, -28]);
    end(client);
  });

  test('there are no more open files and inodes than the host has descriptors for', () => {
    using client = FuseClient.started({ filesMax: 1, inodesMax: 2 });
    const first = create(client, 'a');
    assert.equal(create(client, 'b').error, -Errno.ENFILE);
    client.ask({ opcode: Opcode.RELEASE, parts: [FileIn.encode({ fh: fhOf(first, EntryOut.size) })] });
    client.host.put('b', REGULAR);
    client.host.put('c', REGULAR);
    assert.deepEqual([lookup(client, 'b').error, lookup(client, 'c').error], [0, -Errno.ENFILE]);
    assert.equal(lookup(client, 'a').error, 0);
    end(client);
  });
});

describe('attributes', () => {
  for (const [name, givesAway, bits] of [
    ['without maps no file gets set-user-ID or set-group-ID', false, 0],
    ['with maps a file may get set-user-ID and set-group-ID', true, 0o6000],
  ] as const) {
    test(name, () => {
      using client = FuseClient.started({ givesAway });
      const mode = FileType.REGULAR | 0o6755;
      const made = client.ask({ opcode: Opcode.MKNOD, parts: [MknodIn.encode({ mode }), 'a'] });
      const created = client.ask({
        opcode: Opcode.CREATE,
        parts: [CreateIn.encode({ flags: OpenFlag.WRONLY, mode }), 'b'],
      });
      client.host.put('c', REGULAR, '');
      const changed = setattr(client, nodeOf(lookup(client, 'c')), { valid: SetAttr.MODE, mode });
      const modes = [made, created, changed].map((answer) => attrOf(answer).mode & 0o7777);
      assert.deepEqual(modes, Array(3).fill(0o755 | bits));
      const directory = client.ask({ opcode: Opcode.MKDIR, parts: [MkdirIn.encode({ mode: 0o2755 }), 'd'] });
      assert.equal(attrOf(directory).mode, FileType.DIRECTORY | 0o2755);
    });
  }

  test('SETATTR changes what it names', () => {
    using client = FuseClient.started();
    const node = client.host.put('f', REGULAR, 'abc');
    const id = nodeOf(lookup(client, 'f'));
    const { MODE, UID, SIZE, MTIME, MTIME_NOW, ATIME } = SetAttr;
    assert.equal(attrOf(setattr(client, id, { valid: MODE, mode: REGULAR | 0o1111 })).mode & 0o7777, 0o1755);
    assert.equal(sizeOf(setattr(client, id, { valid: SIZE, size: 2 })), 2);
    const mtime = new Uint8Array(BigInt64Array.of(-5n).buffer);
    setattr(client, id, { valid: MTIME, mtime, mtimensec: 1 });
    assert.equal(node.mtimeSeconds, -5);
    setattr(client, id, { valid: ATIME });
    assert.equal(node.mtimeSeconds, -5);
    setattr(client, id, { valid: MTIME | MTIME_NOW, mtimensec: 0xffff_ffff });
    assert.equal(node.mtimeSeconds, 1_000_000);
    assert.equal(setattr(client, id, { valid: MTIME, mtimensec: 1_000_000_000 }).error, -Errno.EINVAL);
    assert.equal(setattr(client, id, { valid: UID, uid: 3 }).error, 0);
    assert.deepEqual([node.uid, node.gid], [3, 0]);
    const huge = SetattrIn.encode({ valid: SIZE });
    viewOf(huge).setBigUint64(SetattrIn.fields.size.offset, 2n ** 63n, true);
    assert.equal(client.ask({ opcode: Opcode.SETATTR, nodeid: id, parts: [huge] }).error, -Errno.EFBIG);
    end(client);
  });

  test('without a user namespace the guest sees the own user as root and nobody else', () => {
    using client = FuseClient.started({ ids: ownerIds(1000, 100) });
    Object.assign(client.host.put('mine', REGULAR), { uid: 1000, gid: 100 });
    Object.assign(client.host.put('theirs', REGULAR), { uid: 0, gid: 0 });
    const idsOf = (name: string): number[] => {
      const { uid, gid } = attrOf(lookup(client, name));
      return [uid, gid];
    };
    assert.deepEqual(
      [idsOf('mine'), idsOf('theirs')],
      [
        [0, 0],
        [65534, 65534],
      ],
    );
    const id = nodeOf(lookup(client, 'mine'));
    assert.equal(setattr(client, id, { valid: SetAttr.UID, uid: 0 }).error, 0);
    assert.equal(setattr(client, id, { valid: SetAttr.GID, gid: 1 }).error, -Errno.EPERM);
    assert.equal(client.host.rootNode.entries.get('mine')?.uid, 1000);
    end(client);
  });

  test('STATFS and ACCESS', () => {
    using client = FuseClient.started();
    const reply = client.ask({ opcode: Opcode.STATFS });
    const { bsize, namelen } = StatfsOut.decode(reply.view);
    assert.deepEqual([reply.data.length, bsize, namelen, reply.data[0]], [80, 4096, 255, 100]);
    assert.equal(client.ask({ opcode: Opcode.ACCESS, parts: [AccessIn.encode({ mask: 2 })] }).error, 0);
    using readOnly = FuseClient.started({ readOnly: true });
    assert.equal(readOnly.ask({ opcode: Opcode.ACCESS, parts: [AccessIn.encode({ mask: 2 })] }).error, -Errno.EROFS);
  });
});

describe('extended attributes', () => {
  const getxattr = (client: FuseClient, nodeid: number, name: string, size: number): FuseReply =>
    client.ask({ opcode: Opcode.GETXATTR, nodeid, parts: [GetxattrIn.encode({ size }), name] });
  const setxattr = (client: FuseClient, nodeid: number, name: string, value: string): number => {
    const parts = [SetxattrIn.encode({ size: value.length }), name, Buffer.from(value)];
    return client.ask({ opcode: Opcode.SETXATTR, nodeid, parts }).error;
  };
  const list = (client: FuseClient, nodeid: number, size: number): FuseReply =>
    client.ask({ opcode: Opcode.LISTXATTR, nodeid, parts: [GetxattrIn.encode({ size })] });

  test('user.* is set, read, listed and removed', () => {
    using client = FuseClient.started();
    const node = client.host.put('f', REGULAR);
    node.attributes.set('security.selinux', Buffer.from('x'));
    const id = nodeOf(lookup(client, 'f'));
    assert.equal(setxattr(client, id, 'user.a', 'value'), 0);
    assert.equal(text(getxattr(client, id, 'user.a', 100)), 'value');
    assert.equal(getxattr(client, id, 'user.a', 0).view.getUint32(0, true), 5);
    assert.equal(getxattr(client, id, 'user.a', 4).error, -Errno.ERANGE);
    assert.deepEqual([text(list(client, id, 100)), list(client, id, 0).view.getUint32(0, true)], ['user.a\0', 7]);
    assert.equal(list(client, id, 6).error, -Errno.ERANGE);
    assert.equal(client.ask({ opcode: Opcode.REMOVEXATTR, nodeid: id, parts: ['user.a'] }).error, 0);
    assert.equal(getxattr(client, id, 'user.a', 100).error, -Errno.ENODATA);
    end(client);
  });

  test('other names, and files that have none, are refused', () => {
    using client = FuseClient.started();
    client.host.put('f', REGULAR).attributes.set('security.capability', Buffer.from('x'));
    client.host.put('s', FileType.SYMLINK | 0o777);
    const [file, link] = [nodeOf(lookup(client, 'f')), nodeOf(lookup(client, 's'))];
    for (const name of ['security.capability', 'trusted.x', 'system.posix_acl_access', 'user.', 'userx']) {
      assert.equal(getxattr(client, file, name, 10).error, -Errno.EOPNOTSUPP);
      assert.equal(setxattr(client, file, name, 'v'), -Errno.EOPNOTSUPP);
      assert.equal(client.ask({ opcode: Opcode.REMOVEXATTR, nodeid: file, parts: [name] }).error, -Errno.EOPNOTSUPP);
    }
    assert.equal(getxattr(client, link, 'user.a', 10).error, -Errno.ENODATA);
    assert.equal(setxattr(client, link, 'user.a', 'v'), -Errno.EPERM);
    assert.equal(list(client, link, 10).data.length, 0);
    const long = [SetxattrIn.encode({ size: 0x1_0001 }), 'user.a'];
    assert.equal(client.ask({ opcode: Opcode.SETXATTR, nodeid: file, parts: long }).error, -Errno.E2BIG);
    end(client);
  });
});

/** Names and offsets of a listing, and the nodes of one with entries. */
function entriesOf({ data, view }: FuseReply, withEntries: boolean) {
  const found: { name: string; off: bigint; node: number }[] = [];
  for (let at = 0; at < data.length; ) {
    const direntAt = at + (withEntries ? EntryOut.size : 0);
    const length = Dirent.fields.namelen.get(view, direntAt);
    const nameAt = direntAt + Dirent.size;
    const name = Buffer.from(data.subarray(nameAt, nameAt + length)).toString();
    const node = withEntries ? EntryOut.fields.nodeid.get(view, at) : 0;
    found.push({ name, off: view.getBigUint64(direntAt + 8, true), node });
    at = Math.ceil((nameAt + length) / 8) * 8;
  }
  return found;
}

describe('directories', () => {
  for (const opcode of [Opcode.READDIR, Opcode.READDIRPLUS]) {
    const isPlus = opcode === Opcode.READDIRPLUS;
    test(`${isPlus ? 'READDIRPLUS' : 'READDIR'} gives every entry once, whatever the answers hold, and goes on from any offset`, () => {
      for (const size of [300, 512, 1000, 4096]) {
        using client = FuseClient.started();
        const names = Array.from({ length: 60 }, (_, at) => 'n'.repeat(1 + (at % 40)) + at);
        for (const name of names) client.host.put(name, REGULAR);
        const fh = fhOf(open(client, ROOT_ID, 0, Opcode.OPENDIR));
        const all: ReturnType<typeof entriesOf> = [];
        const next = (offset: bigint): FuseReply => {
          const parts = ReadIn.encode({ fh, size });
          viewOf(parts).setBigUint64(8, offset, true);
          return client.ask({ opcode, parts: [parts], room: size });
        };
        for (;;) {
          const part = entriesOf(next(all.at(-1)?.off ?? 0n), isPlus);
          if (part.length === 0) break;
          all.push(...part);
        }
        assert.deepEqual(
          all.map(({ name }) => name),
          ['.', '..', ...names],
        );
        assert.equal(entriesOf(next(all[30]?.off ?? 0n), isPlus)[0]?.name, all[31]?.name);
        assert.equal(all.filter(({ node }) => node > 0).length, isPlus ? names.length : 0);
        assert.equal(client.ask({ opcode: Opcode.FSYNCDIR, parts: [FileIn.encode({ fh })] }).error, 0);
        assert.equal(client.ask({ opcode: Opcode.RELEASEDIR, parts: [FileIn.encode({ fh })] }).error, 0);
        end(client);
      }
    });
  }

  test('what READDIRPLUS looked up is counted; beyond the limit names come alone', () => {
    using client = FuseClient.started({ inodesMax: 1 });
    client.host.put('a', REGULAR);
    client.host.put('b', REGULAR);
    const fh = fhOf(open(client, ROOT_ID, 0, Opcode.OPENDIR));
    const found = entriesOf(read(client, fh, 4096, { opcode: Opcode.READDIRPLUS }), true);
    assert.deepEqual(
      found.map(({ name, node }) => [name, node > 0]),
      [
        ['.', false],
        ['..', false],
        ['a', true],
        ['b', false],
      ],
    );
    end(client);
  });

  test('a file is no directory', () => {
    using client = FuseClient.started();
    const fh = fhOf(create(client, 'f'), EntryOut.size);
    const directory = fhOf(open(client, ROOT_ID, 0, Opcode.OPENDIR));
    assert.equal(read(client, fh, 100, { opcode: Opcode.READDIR }).error, -Errno.EBADF);
    assert.equal(read(client, directory, 100).error, -Errno.EBADF);
    assert.equal(write(client, directory, 'x').error, -Errno.EBADF);
    const offset = ReadIn.encode({ fh: directory, size: 100 });
    viewOf(offset).setBigUint64(8, 2n ** 63n, true);
    assert.equal(client.ask({ opcode: Opcode.READDIR, parts: [offset] }).error, -Errno.EINVAL);
    end(client);
  });
});

describe('a directory that is shared for reading', () => {
  test('is not changed', () => {
    using client = FuseClient.started({ readOnly: true });
    const node = client.host.put('f', REGULAR, 'abc');
    const id = nodeOf(lookup(client, 'f'));
    for (const opcode of [
      Opcode.SETATTR,
      Opcode.SYMLINK,
      Opcode.MKNOD,
      Opcode.MKDIR,
      Opcode.UNLINK,
      Opcode.RMDIR,
      Opcode.RENAME,
      Opcode.RENAME2,
      Opcode.LINK,
      Opcode.CREATE,
      Opcode.WRITE,
      Opcode.SETXATTR,
      Opcode.REMOVEXATTR,
      Opcode.FALLOCATE,
      Opcode.COPY_FILE_RANGE,
    ]) {
      assert.equal(client.ask({ opcode, nodeid: id, parts: [new Uint8Array(128)] }).error, -Errno.EROFS);
    }
    for (const flags of [OpenFlag.WRONLY, OpenFlag.RDWR, OpenFlag.TRUNC]) {
      assert.equal(open(client, id, flags).error, -Errno.EROFS);
    }
    assert.equal(text(read(client, fhOf(open(client, id, 0)), 9)), 'abc');
    assert.equal(node.data.length, 3);
    end(client);
  });
});

describe('requests that make no sense', () => {
  test('an operation that is not known is ENOSYS, an unknown node ENOENT', () => {
    using client = FuseClient.started();
    for (const opcode of [0, 7, 31, 39, 48, 51, 4096, 0xffff_ffff])
      assert.equal(client.ask({ opcode }).error, -Errno.ENOSYS);
    for (const opcode of Object.values(Opcode)) {
      const parts = [new Uint8Array(128).fill(0x61, 0, 100)];
      const reply = client.send({ opcode, nodeid: 2 ** 53 - 1, parts });
      assert.ok(
        reply === undefined || reply.error < 0 || opcode === Opcode.INIT || opcode === Opcode.DESTROY,
        `${opcode}`,
      );
    }
    end(client);
  });

  test('every operation refuses arguments that end early', () => {
    using client = FuseClient.started();
    const free: number[] = [
      Opcode.STATFS,
      Opcode.DESTROY,
      Opcode.FORGET,
      Opcode.BATCH_FORGET,
      Opcode.FLUSH,
      Opcode.READLINK,
      Opcode.INTERRUPT,
    ];
    for (const opcode of Object.values(Opcode).filter((each) => !free.includes(each))) {
      assert.equal(client.ask({ opcode, parts: [Uint8Array.of(1, 2, 3)] }).error, -Errno.EINVAL, `${opcode}`);
    }
    end(client);
  });

  test('a header of another length, or half of one, is refused', () => {
    using client = FuseClient.started();
    const header = (len: number) => ({ readable: InHeader.encode({ len, opcode: Opcode.STATFS, nodeid: ROOT_ID }) });
    const answer = { writableBytes: 200 };
    assert.equal(client.exchange([header(InHeader.size), answer])?.error, 0);
    for (const len of [0, 39, 41, 0xffff_ffff])
      assert.equal(client.exchange([header(len), answer])?.error, -Errno.EINVAL);
    assert.equal(client.exchange([{ readable: new Uint8Array(39) }, answer])?.error, -Errno.EINVAL);
    assert.equal(client.exchange([answer])?.error, -Errno.EINVAL);
    assert.deepEqual(client.interrupt.resets, []);
  });

  test('arguments longer than any are refused', () => {
    using client = FuseClient.started();
    const parts = [SetxattrIn.encode({ size: 65536 }), 'user.a', new Uint8Array(70_000)];
    assert.equal(client.ask({ opcode: Opcode.SETXATTR, parts }).error, -Errno.E2BIG);
  });

  test('a structure that has no room is an error, and no part of it', () => {
    using client = FuseClient.started();
    const reply = client.ask({ opcode: Opcode.STATFS, room: 79 });
    assert.deepEqual([reply.error, reply.data.length], [-Errno.EINVAL, 0]);
  });

  test('a request without room for the header of its answer stops the queue', () => {
    using client = FuseClient.started();
    assert.equal(client.send({ opcode: Opcode.STATFS, room: 'none' }), undefined);
    assert.match(client.interrupt.resets[0] ?? '', /^NO_ROOM_FOR_ANSWER/);
  });

  test('INTERRUPT interrupts nothing', () => {
    using client = FuseClient.started();
    assert.equal(client.send({ opcode: Opcode.INTERRUPT, parts: [new Uint8Array(8)], room: 'none' }), undefined);
    assert.equal(client.ask({ opcode: Opcode.INTERRUPT, parts: [new Uint8Array(8)] }).error, -Errno.ENOSYS);
    assert.deepEqual(client.interrupt.resets, []);
  });
});
