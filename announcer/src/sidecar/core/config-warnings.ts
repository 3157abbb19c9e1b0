/** What a sidecar's configuration is allowed to say, and yet is hardly meant. */
import { formatDuration } from '@l4d/kit/duration.ts';
import type { SidecarConfig } from './config.ts';

/** A program that a check runs. */
export interface CheckProgram {
  /** `services[0].checks[1]`. */
  readonly path: string;
  readonly program: string;
}

/**
 * Timeouts that are cut short by their interval. `document` is what was written: the default timeout is for any
 * interval, so only one that was set is worth a word.
 */
export function timeoutWarnings(config: SidecarConfig, document: unknown): string[] {
  return config.services.flatMap((service, place) =>
    service.checks.flatMap((check, index) => {
      if (!('timeout' in check) || check.timeout <= check.interval) return [];
      const written = [place, 'checks', index, 'timeout'].reduce<unknown>(
        (value, key) => (value as Readonly<Record<string, unknown>> | undefined)?.[key],
        (document as { readonly services?: unknown }).services,
      );
      if (written === undefined) return [];
      const [timeout, interval] = [formatDuration(check.timeout), formatDuration(check.interval)];
      const path = `services[${place}].checks[${index}].timeout`;
      return [
        `${path}: ${timeout} is longer than interval: ${interval}, so no answer after ${interval} counts as bad`,
      ];
    }),
  );
}

/** The programs of all `exec` checks. */
export function checkPrograms(config: SidecarConfig): CheckProgram[] {
  return config.services.flatMap((service, place) =>
    service.checks.flatMap((check, index) => {
      const program = check.type === 'exec' ? check.command[0] : undefined;
      return program === undefined ? [] : [{ path: `services[${place}].checks[${index}].command`, program }];
    }),
  );
}
