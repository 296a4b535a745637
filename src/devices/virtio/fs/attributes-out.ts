import { Statx } from '#sys/at-calls.ts';
import { Attr } from './constants.ts';
import type { HostStat } from './host-fs.ts';
import type { IdTranslation } from './ids.ts';

const S = Statx.fields;
const A = Attr.fields;
/** Where seconds and nanoseconds lie in `struct statx_timestamp`. */
const TIMES = [
  [S.atime.offset, A.atime.offset, A.atimensec.offset],
  [S.mtime.offset, A.mtime.offset, A.mtimensec.offset],
  [S.ctime.offset, A.ctime.offset, A.ctimensec.offset],
] as const;
const WORDS = [
  [S.ino.offset, A.ino.offset],
  [S.size.offset, A.size.offset],
  [S.blocks.offset, A.blocks.offset],
] as const;
const SECONDS_BYTES = 8;

function copyWord(from: DataView, fromAt: number, to: DataView, toAt: number): void {
  to.setUint32(toAt, from.getUint32(fromAt, true), true);
  to.setUint32(toAt + 4, from.getUint32(fromAt + 4, true), true);
}

/** new_encode_dev of linux/kdev_t.h. */
function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/** `struct fuse_attr` at a place that is zeros, from what the host says; without a bigint. */
export function writeAttributes({ view: stat }: HostStat, ids: IdTranslation, view: DataView, at: number): void {
  for (const [from, to] of WORDS) copyWord(stat, from, view, at + to);
  for (const [from, seconds, nanoseconds] of TIMES) {
    copyWord(stat, from, view, at + seconds);
    view.setUint32(at + nanoseconds, stat.getUint32(from + SECONDS_BYTES, true), true);
  }
  A.mode.set(view, at, S.mode.get(stat, 0));
  A.nlink.set(view, at, S.nlink.get(stat, 0));
  A.uid.set(view, at, ids.guestUid(S.uid.get(stat, 0)));
  A.gid.set(view, at, ids.guestGid(S.gid.get(stat, 0)));
  A.rdev.set(view, at, encodeDevice(S.rdevMajor.get(stat, 0), S.rdevMinor.get(stat, 0)));
  A.blksize.set(view, at, S.blksize.get(stat, 0));
}
