/** What makes a plain Debian system quick to boot on a slow processor, and easy to log in to. */

/** The release of the system: Debian 12, whose modules the kernel's package has uncompressed. */
export const DEBIAN_SUITE = 'bookworm';

/** Besides the essential packages and apt, without what they recommend. logind, which hears the power button, needs dbus. */
export const DEBIAN_PACKAGES = [
  'systemd-sysv',
  'udev',
  'kmod',
  'login',
  'iproute2',
  'ifupdown',
  'udhcpc',
  'procps',
  'dbus',
];

/** What dpkg leaves out, now and when the guest installs packages. */
const EXCLUDED = ['man', 'doc', 'info', 'locale', 'lintian', 'bug'];

/**
 * Units that cost a start of a program each and serve nothing here: file systems for developers of kernels, modules for hardware that
 * the machine has not, logins on screens, jobs at night.
 */
const MASKED_UNITS = [
  'modprobe@configfs.service',
  'modprobe@dm_mod.service',
  'modprobe@drm.service',
  'modprobe@efi_pstore.service',
  'modprobe@fuse.service',
  'modprobe@loop.service',
  'dev-hugepages.mount',
  'dev-mqueue.mount',
  'sys-fs-fuse-connections.mount',
  'sys-kernel-config.mount',
  'sys-kernel-debug.mount',
  'sys-kernel-tracing.mount',
  'systemd-pstore.service',
  'systemd-remount-fs.service',
  'getty@tty1.service',
  'getty-static.service',
  'apt-daily.timer',
  'apt-daily-upgrade.timer',
  'dpkg-db-backup.timer',
  'e2scrub_all.timer',
  'e2scrub_reap.service',
  'fstrim.timer',
  'man-db.timer',
  'systemd-timesyncd.service',
];

/** Programs that run before the first unit, for disks and boot loaders of other kinds. */
const MASKED_GENERATORS = [
  'systemd-bless-boot-generator',
  'systemd-cryptsetup-generator',
  'systemd-gpt-auto-generator',
  'systemd-hibernate-resume-generator',
  'systemd-integritysetup-generator',
  'systemd-rc-local-generator',
  'systemd-system-update-generator',
  'systemd-veritysetup-generator',
];

/** What gives network interfaces other names than the kernel does: eth0 is the first. */
const MASKED_LINKS = ['73-usb-net-by-mac.link', '99-default.link'];

/**
 * The login on the serial port. Debian's own waits until udev has told of the port, which is there from the start; udev takes
 * seconds to get to it.
 */
const SERIAL_GETTY = `[Unit]
Description=Serial Getty on %I
Documentation=man:agetty(8) man:systemd-getty-generator(8)
After=systemd-user-sessions.service getty-pre.target
Before=getty.target
IgnoreOnIsolate=yes
Conflicts=rescue.service
Before=rescue.service

[Service]
ExecStart=-/sbin/agetty -o '-p -- \\\\u' --keep-baud 115200,57600,38400,9600 - $TERM
Type=idle
Restart=always
UtmpIdentifier=%I
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/%I
TTYReset=yes
TTYVHangup=yes
IgnoreSIGPIPE=no
SendSIGHUP=yes

[Install]
WantedBy=getty.target
`;

/** A serial line has no size of its own: whoever starts the machine says it on the kernel's command line. */
const TERMINAL_SIZE = `# The size of the terminal at the other end of the serial line, from the kernel's command line.
if [ "$(tty)" = /dev/ttyS0 ]; then
  for word in $(cat /proc/cmdline); do
    case $word in
      LINES=*) stty rows "\${word#LINES=}" ;;
      COLUMNS=*) stty cols "\${word#COLUMNS=}" ;;
    esac
  done
fi
`;

const NETWORK = `auto lo
iface lo inet loopback

allow-hotplug eth0
iface eth0 inet dhcp
`;

const FSTAB = '# The initramfs mounts the root file system, for reading and writing.\n';

/** Files of the system that come from us, by path without a leading slash. */
export function debianFiles(): Readonly<Record<string, string>> {
  const repository = (server: string, update = ''): string =>
    `deb http://deb.debian.org/${server} ${DEBIAN_SUITE}${update} main\n`;
  return {
    'etc/hostname': 'crosvm\n',
    'etc/hosts': '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 crosvm\n',
    'etc/fstab': FSTAB,
    'etc/network/interfaces': NETWORK,
    'etc/apt/sources.list':
      repository('debian') + repository('debian', '-updates') + repository('debian-security', '-security'),
    'etc/systemd/journald.conf.d/90crosvm.conf': '[Journal]\nStorage=volatile\n',
    // On a software CPU that shares its processor, minutes are no sign of a failure.
    'etc/systemd/system.conf.d/90crosvm.conf': '[Manager]\nDefaultTimeoutStartSec=10min\nDefaultTimeoutStopSec=3min\n',
    'etc/systemd/system/serial-getty@.service': SERIAL_GETTY,
    'etc/profile.d/terminal-size.sh': TERMINAL_SIZE,
  };
}

/** Settings of apt, for the installation and in the system. */
export const DEBIAN_APT_OPTIONS = [
  'APT::Install-Recommends "false"',
  'Acquire::Languages "none"',
  'Dpkg::Use-Pty "false"',
];

/** Options of dpkg, for the installation and in the system. */
export function debianDpkgOptions(): string[] {
  return EXCLUDED.map((name) => `path-exclude=/usr/share/${name}/*`);
}

/** Symlinks to /dev/null, by path without a leading slash: systemd and udev take them for "not wanted". */
export function debianMasks(): string[] {
  const masks = (folder: string, names: readonly string[]): string[] =>
    names.map((name) => `etc/systemd/${folder}/${name}`);
  return [
    ...masks('network', MASKED_LINKS),
    ...masks('system', MASKED_UNITS),
    ...masks('system-generators', MASKED_GENERATORS),
  ];
}
