/**
 * The process of the BFD engine, a child of the announcer (service.ts). A thread of the announcer would not do: in
 * a garbage collection it waits for V8's helper threads, which have no priority of their own (144 ms late on a
 * machine with more work than processors, against 14 ms here).
 */
import { scheduleBeforeOthers } from '@l4d/kit/ffi/scheduling.ts';
import { createBfdEngine } from './engine.ts';
import { type BfdReport, type BfdRequest, statusPeriodMs } from './messages.ts';

const tell = (report: BfdReport, then = () => {}) => {
  if (process.connected) process.send?.(report, undefined, {}, then);
};

const engine = createBfdEngine({
  wallClock: Date.now,
  random: Math.random,
  onVerdict(peer, verdict, why) {
    tell({ kind: 'verdict', peer, verdict, why });
    tell({ kind: 'status', sessions: engine.status() });
  },
});

// Detection must not wait for the rest of the machine. Niceness does not do it: with automatic task groups it
// counts within a session alone. Without the right to it, sessions work at the common priority.
scheduleBeforeOthers();

// A planned stop comes by message, after the peers have been told why.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
// The promise `fast`: what the announcer announces must not outlive it.
process.on('disconnect', () => process.exit(0));

const reporter = setInterval(() => tell({ kind: 'status', sessions: engine.status() }), statusPeriodMs);

process.on('message', (request: BfdRequest) => {
  switch (request.kind) {
    case 'configure':
      engine.configure(request.sessions);
      tell({ kind: 'status', sessions: engine.status() });
      return;
    case 'shutdown':
      clearInterval(reporter);
      engine.shutdown();
      tell({ kind: 'stopped' }, () => process.exit(0));
      return;
  }
});
