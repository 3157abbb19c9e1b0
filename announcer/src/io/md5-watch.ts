import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import { explainMd5 } from '../core/security.ts';
import { readMd5Counters } from './tcp-keys.ts';

/** Looks at the kernel's TCP MD5 counters while a peer has no session. */
export interface Md5Watch {
  /** What was dropped since the last look; undefined when nothing was. Another look begins. */
  explain(): string | undefined;
  /** While true nobody looks. */
  setConnected(connected: boolean): void;
}

const interval = Seconds(5);

/**
 * Makes a watch that is not looking. A peer that connects with a wrong password is seen by nobody but the counters,
 * so with `hasPassword` they are read every 5 s; `onDropped` is told what they say.
 */
export function createMd5Watch(
  clock: Clock,
  hasPassword: boolean,
  onDropped: (text: string) => void,
): Md5Watch {
  let before = readMd5Counters();
  let watching = false;
  let timer: Timer | undefined;

  const explain = () => {
    const now = readMd5Counters();
    const text = explainMd5(before, now, hasPassword);
    before = now;
    return text;
  };

  function schedule(): void {
    timer = clock.after(interval, () => {
      const text = explain();
      if (text !== undefined) onDropped(text);
      schedule();
    });
  }

  return {
    explain,
    setConnected(connected) {
      if (watching === !connected) return;
      watching = !connected;
      timer?.cancel();
      if (!watching) return;
      before = readMd5Counters();
      if (hasPassword) schedule();
    },
  };
}
