/** What runs in the guest as process 1, and the few files that it needs in /etc. */

/** The very first output of init: benches take the time of it. */
export const FIRST_LINE = 'crosvm-ts: init';
/** Where the shell commands of script mode are; without the file the guest gives an interactive shell. */
export const SCRIPT_PATH = 'etc/crosvm/script';
/** Where a file asks init to print the exit status of the script. */
export const REPORT_STATUS_PATH = 'etc/crosvm/report-status';
/** The line that is printed then, before power-off. */
export const STATUS_LINE = 'crosvm-ts: exit status';

const ENVIRONMENT = 'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8';

/**
 * busybox's poweroff, reboot and halt send a signal to process 1. A shell runs its traps only while it waits, hence the
 * background jobs; these ignore SIGINT, which login puts right so that Ctrl-C works. `stty sane` waits until the console has taken all output. The kernel's own last words are muted by
 * setting its console level to 0.
 */
export const INIT = `#!/bin/busybox sh
echo '${FIRST_LINE}'
export HOME=/root
${ENVIRONMENT}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for folder in /dev/shm /run /tmp; do mount -t tmpfs -o mode=1777 tmpfs $folder; done
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
hostname crosvm
ip link set lo up

finish() {
  stty sane </dev/console
  echo 0 >/proc/sys/kernel/printk
  "$@" -f
}
trap 'finish poweroff' USR2
trap 'finish reboot' TERM
trap 'finish halt' USR1

cd /root
if [ -f /${SCRIPT_PATH} ]; then
  stty -opost -echo
  /bin/sh /${SCRIPT_PATH} </dev/null &
  wait $!
  status=$?
  [ -f /${REPORT_STATUS_PATH} ] && echo "${STATUS_LINE} $status"
  finish poweroff
fi

[ -n "$LINES" ] && [ -n "$COLUMNS" ] && stty rows "$LINES" cols "$COLUMNS"
unset LINES COLUMNS
setsid cttyhack login -f -p root </dev/console >/dev/console 2>&1 &
wait $!
finish poweroff
`;

/** Files that no package brings; `shell` is the path of root's login shell. */
export function etcFiles(shell: string): Readonly<Record<string, string>> {
  return {
    'etc/passwd': `root:x:0:0:root:/root:${shell}\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n`,
    'etc/group': 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n',
    'etc/hosts': '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 crosvm\n',
    'etc/hostname': 'crosvm\n',
    'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
    'etc/profile': `${ENVIRONMENT}\nexport PS1='\\u@\\h:\\w\\$ '\n`,
  };
}
