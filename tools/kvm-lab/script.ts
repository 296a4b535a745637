/** What the lab's init runs: it makes /dev/kvm, runs the command in the project, and leaves the exit status to init. */

/** Where the project is in the lab. */
export const PROJECT = 'crosvm';
/** Modules are loaded in the order of these files' names. */
export const MODULES = 'etc/crosvm/modules';
/** Guest files of the tests, as the cache on the host has them. */
export const GUEST_CACHE = 'var/cache/crosvm-guest';
/**
 * While there is a virtual machine, KVM leaves SVM switched on. Measured with QEMU 7.2: a lab whose processors switched it on and off for each machine
 * stood still, both processors, after 200 to 250 of them, three times of three; with one machine kept, 500 came and went.
 */
const HOLD_LIMIT_S = 30;
/** Programs of C, for the guests of tests and for benches: there is no compiler in the lab. */
export const C_PROGRAMS = 'usr/local/lib/crosvm';
/** In the environment of everything that runs in the lab. */
export const LAB_VARIABLE = 'CROSVM_KVM_LAB';
/** A line on the console that says that the lab's kernel still runs programs. */
export const HEARTBEAT = 'crosvm-ts: lab alive';
/** Between two heartbeats, in seconds of the lab's own clock. */
const HEARTBEAT_S = 5;
/** What a command that was asked to end by its limit may take before it is killed, in seconds. */
const GRACE_S = 15;
/** What programs that the command left behind may take to end before they are told of, in seconds. */
const LEFT_OVER_S = 3;
/** Exit status of the lab where the limit was reached, as that of `timeout`. */
export const TIMED_OUT_STATUS = 124;
/** Exit status of `npm run test:kvm` where a program is missing that the lab needs and cannot be installed. */
export const MISSING_STATUS = 4;
/**
 * Everything runs on this processor but the vCPU threads that a test puts elsewhere. Measured with QEMU 7.2: of 50 processes of Node that its multi-threaded TCG
 * moved between two processors 25 died, of V8's check of its own stack or of SIGSEGV, with the software CPU as with KVM; of 20 that stayed on
 * one, beside others on the other one, none.
 */
const FIRST_CPU = 0;
/** The serial port that carries the command's output; the first one is the kernel's console. */
const LOG = '/dev/ttyS1';
/** The same in every shell. */
const LIST_PROCESSES = 'busybox ps -o pid,ppid,stat,rss,args';

export interface LabScriptOptions {
  /** Run by `sh -c` in the project's folder. */
  readonly command: string;
  /** The command is asked to end after so many seconds. */
  readonly limitS: number;
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * The initramfs itself cannot be left by pivot_root(2), which jails need; a second mount of it can. The command's output
 * goes through a pipe, for a terminal changes what programs print.
 */
export function labScript({ command, limitS }: LabScriptOptions): string {
  return `
if [ "$1" != inside ]; then
  for module in /${MODULES}/*; do insmod "$module" || echo "the module $module does not load"; done
  mount --rbind / /mnt
  cd /mnt
  mount --move . /
  exec chroot . /bin/sh /etc/crosvm/script inside
fi

stty raw -echo <${LOG}
(while sleep ${HEARTBEAT_S}; do echo '${HEARTBEAT}'; done) </dev/null &
mkfifo /tmp/log
cat /tmp/log >${LOG} &
log=$!

cd /${PROJECT}
export ${LAB_VARIABLE}=1 CROSVM_GUEST_CACHE=/${GUEST_CACHE} NODE_COMPILE_CACHE=/var/tmp/compile-cache NO_COLOR=1
taskset -c ${FIRST_CPU} node tools/kvm-lab/hold-kvm.ts /tmp/held </dev/null >/dev/console 2>&1 &
for tenth in $(seq ${10 * HOLD_LIMIT_S}); do [ -e /tmp/held ] || sleep 0.1; done
[ -e /tmp/held ] || echo 'no virtual machine could be made beforehand'

taskset -c ${FIRST_CPU} setsid sh -c ${quoted(command)} </dev/null >/tmp/log 2>&1 &
command=$!
(
  sleep ${limitS}
  touch /tmp/timed-out
  { echo 'processes in the lab when the limit was reached:'; ${LIST_PROCESSES}; } >/tmp/log 2>&1
  kill -TERM $command
  sleep ${GRACE_S}
  kill -KILL -$command
) &
wait $command
status=$?
[ -e /tmp/timed-out ] && status=${TIMED_OUT_STATUS}

for tenth in $(seq ${10 * LEFT_OVER_S}); do kill -0 $log 2>/dev/null && sleep 0.1; done
if kill -0 $log 2>/dev/null; then
  { echo 'processes that the command left behind:'; ${LIST_PROCESSES}; } >${LOG} 2>&1
fi
# All but this and init; what they wrote is in the serial port.
kill -KILL -1
exit $status
`;
}
