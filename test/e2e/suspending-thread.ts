/** Suspends the machine whose control socket it is told of, while the thread that asks does something else. */
import { parentPort } from 'node:worker_threads';
import { ControlClient } from '#vm-control/control-client.ts';

parentPort?.on('message', (path: string) => {
  using client = ControlClient.connect(path);
  client.suspend();
  parentPort?.postMessage('suspended');
});
