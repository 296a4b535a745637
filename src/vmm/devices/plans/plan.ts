import type { JailConfig } from '#jail/jail-config.ts';
import type { ProtocolServer } from '#msg-socket/protocol.ts';
import type { Fd, HasFd } from '#sys/fd.ts';
import type { DeviceGrants } from '../grants.ts';
import type { DeviceName } from '../registry.ts';

/** A process that a device needs, which main has started; whoever asked for the plan disposes of it. */
export interface DeviceHelper extends HasFd, Disposable {
  /** Its descriptor is readable: why it ended. */
  describeEnd(): string;
}

/** What main makes for one device before its process is made. */
export interface DevicePlan {
  /** Which maker of the registry. */
  readonly device: DeviceName;
  /** What the device is called in messages. */
  readonly name: string;
  /** Its seccomp policy. */
  readonly policy: string;
  /** What its jail has other than that of most devices; then it stays the user that crosvm runs as. */
  readonly jail?: Partial<JailConfig>;
  readonly queueCount: number;
  /** Goes to the maker: of the type that the kind declares, `encodeBytes`. */
  readonly parameters: Uint8Array;
  /** The kind's own descriptors, which the process gets copies of; whoever asked for the plan closes them. */
  readonly fds: readonly Fd[];
  /** What it may ask of main besides interrupts; nothing by default. */
  readonly grants?: DeviceGrants;
  /** Answers what a device of this kind asks of main besides interrupts. */
  readonly server?: ProtocolServer;
  readonly helper?: DeviceHelper;
}
