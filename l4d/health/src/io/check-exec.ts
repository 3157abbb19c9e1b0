import { type ChildProcess, spawn } from 'node:child_process';
import { withoutSupervisor } from '@l4d/kit/service-notify.ts';
import type { LocalCheck } from '../core/local-check.ts';
import { timeoutReason } from '../core/reason.ts';
import { bad, type CancelCheck, type CheckRun, failed, good, type OutcomeHandler } from './check-run.ts';

type ExecCheck = Extract<LocalCheck, { type: 'exec' }>;

/** Bytes of output that are kept for the reason. */
const shownBytes = 200;
/** Bytes of output that a check may write: who reads on for ever has no time for anything else. */
const maxOutputBytes = 65_536;

/**
 * Good when the program ends with 0 within the time. One that does not is killed with all that it has started (its
 * process group), and so are one that writes without end, and what a called off check has left running.
 */
export function checkExec(run: CheckRun, check: ExecCheck, onOutcome: OutcomeHandler): CancelCheck {
  const [program = '', ...parameters] = check.command;
  let over = false;
  let said = '';
  let child: ChildProcess;
  const settle: OutcomeHandler = (outcome) => {
    if (over) return;
    over = true;
    timer?.cancel();
    onOutcome(outcome);
  };
  const kill = () => {
    if (child?.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended, with all that it had started.
    }
  };
  const timer = run.clock.after(run.timeout, () => {
    settle(bad(timeoutReason(program, run.timeout)));
    kill();
  });
  try {
    child = spawn(program, parameters, {
      detached: true,
      env: withoutSupervisor(process.env),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    queueMicrotask(() => settle(failed(program, error)));
    return () => {
      over = true;
      timer.cancel();
    };
  }
  let written = 0;
  for (const output of [child.stdout, child.stderr]) {
    output?.on('data', (chunk: Buffer) => {
      written += chunk.length;
      if (written > maxOutputBytes) {
        settle(bad(`${program} writes more than ${maxOutputBytes} bytes`));
        output.destroy();
        kill();
        return;
      }
      if (said.length < shownBytes) said += chunk.toString('utf8').slice(0, shownBytes);
    });
  }
  child.on('error', (error) => settle(failed(program, error)));
  // On the exit, not on the end of the output: something left running may hold that open.
  child.on('exit', (code, signal) => {
    const line = said.split('\n')[0]?.trim() ?? '';
    const tail = line === '' ? '' : `: ${line}`;
    if (code === 0) settle(good(`${program} ended with 0${tail}`));
    else settle(bad(`${program} ${code === null ? `was ended by ${signal}` : `ended with ${code}`}${tail}`));
    child.stdout?.destroy();
    child.stderr?.destroy();
  });
  return () => {
    over = true;
    timer.cancel();
    kill();
  };
}
