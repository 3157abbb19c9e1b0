/**
 * The process of the VRRP engine, started and spoken to by the announcer (service.ts) over a unix socket. It has the
 * real-time priority that BFD's process has, for the same reason, and outlives the announcer: a new one finds the
 * addresses where they are. Without any it leaves after its time.
 */
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { systemClock, type Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { scheduleBeforeOthers } from '@l4d/kit/ffi/scheduling.ts';
import { statusPeriodMs } from '../bfd/messages.ts';
import { onLines } from '../json-lines.ts';
import { createVrrpEngine } from './engine.ts';
import type { VrrpReport, VrrpRequest } from './messages.ts';

const [, , socketPath] = process.argv;
if (socketPath === undefined) throw new TypeError('the path of the socket is missing');

/** The announcer that has started this process connects at once: one that does not come has died before. */
const longestAlone = Seconds(5);

let announcer: Socket | undefined;
let outliveMs = 0;
let farewell: Timer | undefined;

const tell = (report: VrrpReport) => {
  announcer?.write(`${JSON.stringify(report)}\n`);
};
/** Octets that may wait for the announcer before it is told of no more. */
const longestBacklog = 1_000_000;

let isStatusDue = false;

/** Once for all that changes in one turn of the loop. */
const tellStatus = () => {
  if (isStatusDue) return;
  isStatusDue = true;
  setImmediate(() => {
    isStatusDue = false;
    // An announcer that stands still reads nothing, and this process is locked in memory.
    if ((announcer?.writableLength ?? 0) > longestBacklog) return;
    tell({ kind: 'status', status: engine.status() });
  });
};

const engine = createVrrpEngine({
  wallClock: Date.now,
  onChange(router, reason) {
    tell({ kind: 'changed', router, reason });
    tellStatus();
  },
});

async function leave(): Promise<void> {
  await engine.shutdown();
  rmSync(socketPath as string, { force: true });
}

async function onRequest(request: VrrpRequest): Promise<void> {
  switch (request.kind) {
    case 'configure':
      outliveMs = request.outliveMs;
      engine.configure(request.desired);
      tellStatus();
      return;
    case 'shutdown':
      await leave();
      if (announcer === undefined) process.exit(0);
      announcer.end(`${JSON.stringify({ kind: 'stopped' } satisfies VrrpReport)}\n`, () => process.exit(0));
      return;
  }
}

/** The announcer has died or been stopped. */
function onAlone(): void {
  announcer = undefined;
  farewell = systemClock.after(Milliseconds(outliveMs), () => void leave().then(() => process.exit(0)));
}

const server = createServer((socket) => {
  // One announcer at a time; the run folder's lock sees to it, this to a connection that died unnoticed.
  announcer?.removeAllListeners('close');
  announcer?.destroy();
  announcer = socket;
  farewell?.cancel();
  socket.on('error', () => {});
  socket.on('close', onAlone);
  onLines(socket, (message) => void onRequest(message as VrrpRequest));
});

scheduleBeforeOthers();

// A planned stop comes by message.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
setInterval(tellStatus, statusPeriodMs);

rmSync(socketPath, { force: true });
const mask = process.umask(0o177);
server.listen(socketPath);
process.umask(mask);
// Without its path: a later process may have taken it.
farewell = systemClock.after(longestAlone, () => process.exit(0));
