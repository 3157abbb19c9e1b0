import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';

/** What keeps the programs attached. */
export interface AttachmentWatchOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Why the programs do not run where they should; undefined when they do, or when they should not run. */
  readonly problem: () => string | undefined;
  readonly attach: () => Promise<void>;
  /** Called when the programs were found missing, and again once they are back. */
  readonly onChange: () => void;
}

const interval = Seconds(5);

/**
 * Looks at the attachment again and again: nothing tells when somebody removes a link or its pin.
 * Returns how to stop.
 */
export function watchAttachment(options: AttachmentWatchOptions): () => void {
  const { clock, logger } = options;
  let timer: Timer | undefined;
  let stopped = false;
  let told: string | undefined;

  async function look(): Promise<void> {
    const problem = options.problem();
    if (problem === undefined) return;
    logger.error({ problem }, 'the programs do not run: attaching them again');
    options.onChange();
    try {
      await options.attach();
      told = undefined;
      options.onChange();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== told) logger.error({ reason }, 'the programs cannot be attached; it is tried again');
      told = reason;
    }
  }

  function schedule(): void {
    if (stopped) return;
    timer = clock.after(interval, () => void look().finally(schedule));
  }
  schedule();
  return () => {
    stopped = true;
    timer?.cancel();
  };
}
