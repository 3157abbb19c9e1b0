/**
 * A process before all others of the machine that does nothing but sleep 10 ms at a time: when even it is late, the
 * machine stood still (a hypervisor that gives a virtual processor no time). A line for each time: `UNIX-MS LATE-MS`.
 */
import { writeSync } from 'node:fs';
import { scheduleBeforeOthers } from '@l4d/kit/ffi/scheduling.ts';

const stepMs = 10;
const toldFromMs = 30;

scheduleBeforeOthers();
const cell = new Int32Array(new SharedArrayBuffer(4));
for (let due = performance.now() + stepMs; ; due += stepMs) {
  Atomics.wait(cell, 0, 0, Math.max(0, due - performance.now()));
  const now = performance.now();
  const late = now - due;
  if (late < toldFromMs) continue;
  writeSync(1, `${Date.now()} ${late.toFixed(1)}\n`);
  due = now;
}
