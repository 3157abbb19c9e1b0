/** The thread of the BFD engine. */
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { createBfdEngine } from './engine.ts';
import { type BfdReport, type BfdRequest, statusPeriodMs } from './messages.ts';

const port = parentPort;
if (port === null) throw new TypeError('this file is the entry of a worker thread');

const tell = (report: BfdReport) => port.postMessage(report);
const engine = createBfdEngine({
  wallClock: Date.now,
  random: Math.random,
  onVerdict(peer, verdict, why) {
    tell({ kind: 'verdict', peer, verdict, why });
    tell({ kind: 'status', sessions: engine.status() });
  },
});

try {
  // Linux: process id 0 is the calling thread alone. Detection must not wait for the rest of the machine.
  setPriority(0, -20);
} catch {
  // Without the right to it, sessions work at the common priority.
}

const reporter = setInterval(() => tell({ kind: 'status', sessions: engine.status() }), statusPeriodMs);

port.on('message', (request: BfdRequest) => {
  switch (request.kind) {
    case 'configure':
      engine.configure(request.sessions);
      tell({ kind: 'status', sessions: engine.status() });
      return;
    case 'shutdown':
      clearInterval(reporter);
      engine.shutdown();
      tell({ kind: 'stopped' });
      port.close();
      return;
  }
});
