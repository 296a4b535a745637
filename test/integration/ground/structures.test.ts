import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SockFilter } from '#jail/seccomp/bpf.ts';
import { OpenHow, Statfs, Statx } from '#sys/at-calls.ts';
import { CapabilityData, CapabilityHeader, Rlimit } from '#sys/credentials.ts';
import { EpollEvent } from '#sys/epoll.ts';
import { Itimerspec } from '#sys/event.ts';
import { Cmsghdr, Iovec, Msghdr, Timeval } from '#sys/message.ts';
import { MountAttributes } from '#sys/namespaces.ts';
import { ChildSiginfo } from '#sys/process.ts';
import { SeccompNotif, SeccompNotifResp, SockFprog } from '#sys/seccomp.ts';
import { Ucred } from '#sys/socket.ts';
import { Termios } from '#sys/terminal.ts';
import { ThreadSigevent } from '#sys/thread-timer.ts';

interface Declared {
  readonly header: string;
  readonly name: string;
  readonly size: number;
  /** C's name of each field and where we have it. */
  readonly fields: Readonly<Record<string, number>>;
}

const DECLARED: readonly Declared[] = [
  {
    header: 'linux/openat2.h',
    name: 'struct open_how',
    size: OpenHow.size,
    fields: { mode: OpenHow.fields.mode.offset, resolve: OpenHow.fields.resolve.offset },
  },
  {
    header: 'linux/stat.h',
    name: 'struct statx',
    size: Statx.size,
    fields: {
      stx_nlink: Statx.fields.nlink.offset,
      stx_uid: Statx.fields.uid.offset,
      stx_mode: Statx.fields.mode.offset,
      stx_ino: Statx.fields.ino.offset,
      stx_size: Statx.fields.size.offset,
      stx_blocks: Statx.fields.blocks.offset,
      'stx_atime.tv_nsec': Statx.fields.atime.offset + 8,
      stx_ctime: Statx.fields.ctime.offset,
      stx_mtime: Statx.fields.mtime.offset,
      stx_rdev_major: Statx.fields.rdevMajor.offset,
      stx_dev_minor: Statx.fields.devMinor.offset,
    },
  },
  {
    header: 'asm/statfs.h',
    name: 'struct statfs',
    size: Statfs.size,
    fields: {
      f_bsize: Statfs.fields.bsize.offset,
      f_blocks: Statfs.fields.blocks.offset,
      f_bavail: Statfs.fields.bavail.offset,
      f_ffree: Statfs.fields.ffree.offset,
      f_namelen: Statfs.fields.namelen.offset,
      f_frsize: Statfs.fields.frsize.offset,
    },
  },
  {
    header: 'linux/mount.h',
    name: 'struct mount_attr',
    size: MountAttributes.size,
    fields: { attr_clr: MountAttributes.fields.clear.offset, userns_fd: MountAttributes.fields.userns.offset },
  },
  {
    header: 'sys/socket.h',
    name: 'struct ucred',
    size: Ucred.size,
    fields: { pid: Ucred.fields.pid.offset, uid: Ucred.fields.uid.offset, gid: Ucred.fields.gid.offset },
  },
  {
    header: 'sys/epoll.h',
    name: 'struct epoll_event',
    size: EpollEvent.size,
    fields: { events: EpollEvent.fields.events.offset, data: EpollEvent.fields.data.offset },
  },
  {
    header: 'sys/timerfd.h',
    name: 'struct itimerspec',
    size: Itimerspec.size,
    fields: {
      'it_interval.tv_sec': Itimerspec.fields.intervalSec.offset,
      'it_interval.tv_nsec': Itimerspec.fields.intervalNsec.offset,
      'it_value.tv_sec': Itimerspec.fields.valueSec.offset,
      'it_value.tv_nsec': Itimerspec.fields.valueNsec.offset,
    },
  },
  {
    header: 'signal.h',
    name: 'struct sigevent',
    size: ThreadSigevent.size,
    fields: {
      sigev_value: ThreadSigevent.fields.value.offset,
      sigev_signo: ThreadSigevent.fields.signo.offset,
      sigev_notify: ThreadSigevent.fields.notify.offset,
      '_sigev_un._tid': ThreadSigevent.fields.threadId.offset,
    },
  },
  {
    header: 'sys/uio.h',
    name: 'struct iovec',
    size: Iovec.size,
    fields: { iov_base: Iovec.fields.address.offset, iov_len: Iovec.fields.length.offset },
  },
  {
    header: 'sys/socket.h',
    name: 'struct msghdr',
    size: Msghdr.size,
    fields: {
      msg_name: Msghdr.fields.name.offset,
      msg_namelen: Msghdr.fields.nameLength.offset,
      msg_iov: Msghdr.fields.iov.offset,
      msg_iovlen: Msghdr.fields.iovCount.offset,
      msg_control: Msghdr.fields.control.offset,
      msg_controllen: Msghdr.fields.controlLength.offset,
      msg_flags: Msghdr.fields.flags.offset,
    },
  },
  {
    header: 'sys/socket.h',
    name: 'struct cmsghdr',
    size: Cmsghdr.size,
    fields: {
      cmsg_len: Cmsghdr.fields.length.offset,
      cmsg_level: Cmsghdr.fields.level.offset,
      cmsg_type: Cmsghdr.fields.type.offset,
    },
  },
  {
    header: 'sys/time.h',
    name: 'struct timeval',
    size: Timeval.size,
    fields: { tv_sec: Timeval.fields.seconds.offset, tv_usec: Timeval.fields.microseconds.offset },
  },
  {
    header: 'linux/filter.h',
    name: 'struct sock_filter',
    size: SockFilter.size,
    fields: {
      code: SockFilter.fields.code.offset,
      jt: SockFilter.fields.jt.offset,
      jf: SockFilter.fields.jf.offset,
      k: SockFilter.fields.k.offset,
    },
  },
  {
    header: 'linux/filter.h',
    name: 'struct sock_fprog',
    size: SockFprog.size,
    fields: { len: SockFprog.fields.length.offset, filter: SockFprog.fields.filter.offset },
  },
  {
    header: 'linux/seccomp.h',
    name: 'struct seccomp_notif',
    size: SeccompNotif.size,
    fields: {
      id: SeccompNotif.fields.id.offset,
      pid: SeccompNotif.fields.pid.offset,
      'data.nr': SeccompNotif.fields.call.offset,
      'data.arch': SeccompNotif.fields.arch.offset,
      'data.args': SeccompNotif.fields.argumentWords.offset,
    },
  },
  {
    header: 'linux/seccomp.h',
    name: 'struct seccomp_notif_resp',
    size: SeccompNotifResp.size,
    fields: {
      id: SeccompNotifResp.fields.id.offset,
      val: SeccompNotifResp.fields.value.offset,
      error: SeccompNotifResp.fields.error.offset,
      flags: SeccompNotifResp.fields.flags.offset,
    },
  },
  {
    header: 'termios.h',
    name: 'struct termios',
    size: Termios.size,
    fields: {
      c_iflag: Termios.fields.iflag.offset,
      c_oflag: Termios.fields.oflag.offset,
      c_cflag: Termios.fields.cflag.offset,
      c_lflag: Termios.fields.lflag.offset,
      c_line: Termios.fields.line.offset,
      c_cc: Termios.fields.cc.offset,
      c_ispeed: Termios.fields.speeds.offset,
    },
  },
  {
    header: 'sys/wait.h',
    name: 'siginfo_t',
    size: ChildSiginfo.size,
    fields: {
      si_signo: ChildSiginfo.fields.signo.offset,
      si_errno: ChildSiginfo.fields.errno.offset,
      si_code: ChildSiginfo.fields.code.offset,
      si_pid: ChildSiginfo.fields.pid.offset,
      si_uid: ChildSiginfo.fields.uid.offset,
      si_status: ChildSiginfo.fields.status.offset,
    },
  },
  {
    header: 'linux/capability.h',
    name: 'struct __user_cap_header_struct',
    size: CapabilityHeader.size,
    fields: { version: CapabilityHeader.fields.version.offset, pid: CapabilityHeader.fields.pid.offset },
  },
  {
    header: 'linux/capability.h',
    name: 'struct __user_cap_data_struct',
    size: CapabilityData.size,
    fields: {
      effective: CapabilityData.fields.effective.offset,
      permitted: CapabilityData.fields.permitted.offset,
      inheritable: CapabilityData.fields.inheritable.offset,
    },
  },
  {
    header: 'sys/resource.h',
    name: 'struct rlimit',
    size: Rlimit.size,
    fields: { rlim_cur: Rlimit.fields.soft.offset, rlim_max: Rlimit.fields.hard.offset },
  },
];

const compiler = spawnSync('cc', ['--version']).status === 0;

test('structures have the size and offsets that a C compiler gives them', {
  skip: compiler ? false : 'there is no C compiler (cc) on this machine',
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-structures-'));
  try {
    const prints = DECLARED.flatMap(({ name, fields }) => [
      `printf("${name} %zu\\n", sizeof(${name}));`,
      ...Object.keys(fields).map((field) => `printf("${name}.${field} %zu\\n", offsetof(${name}, ${field}));`),
    ]);
    const includes = ['stddef.h', 'stdio.h', 'time.h', ...DECLARED.map(({ header }) => header)];
    const source = `${includes.map((header) => `#include <${header}>`).join('\n')}\nint main(void) { ${prints.join('\n')} }`;
    writeFileSync(join(folder, 'a.c'), source);
    execFileSync('cc', ['-D_GNU_SOURCE', '-o', join(folder, 'a'), join(folder, 'a.c')]);
    const expected = execFileSync(join(folder, 'a')).toString();
    const ours = DECLARED.flatMap(({ name, size, fields }) => [
      `${name} ${size}`,
      ...Object.entries(fields).map(([field, offset]) => `${name}.${field} ${offset}`),
    ]);
    assert.equal(`${ours.join('\n')}\n`, expected);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
