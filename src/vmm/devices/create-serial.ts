/** Main's side of serial ports with processes of their own. */
import { proxyEndOf } from '#devices/proxy/proxied-bus-device.ts';
import type { JailConfig } from '#jail/jail-config.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { DeviceLogServer } from '#vm-control/device-log.ts';
import type { CreateDevicesOptions, CreatedDevice } from './create-devices.ts';
import { SerialParameters } from './make-serial.ts';
import type { SerialPlan } from './plans/serial.ts';

/** Asks for the process of one port and does not wait for it; `owned` gets what lives as long as the machine. Throws WardenError, SyscallError. */
export function createSerial(
  plan: SerialPlan,
  jail: JailConfig,
  options: Pick<CreateDevicesOptions, 'warden' | 'irqRouter' | 'policies' | 'logOf'>,
  owned: DisposableStack,
): CreatedDevice {
  const { name, port, gsi, parameters, report, ends, server, policy } = plan;
  const [ourLog, theirLog] = socketpair(SocketType.SEQPACKET);
  const logServer = owned.use(new DeviceLogServer(new Fd(ourLog), options.logOf(name)));
  using logClient = new Fd(theirLog);
  using irqfd = EventFd.create();
  const requested = options.warden.request(
    { device: 'serial', name, jail, usesGuestMemory: false, parameters: encodeBytes(SerialParameters, parameters) },
    [logClient, report, irqfd, ...ends].map(({ fd }) => fd),
  );
  options.irqRouter.addEdgeIrqfd(gsi, new Fd(dup(irqfd.fd)));
  owned.use(requested.socket);
  const end = proxyEndOf(name, requested.socket.fd);
  return {
    id: requested.id,
    requested,
    name,
    servers: [logServer, server],
    policy: options.policies && policy,
    helper: undefined,
    end,
    place: { kind: 'serial', port },
  };
}
