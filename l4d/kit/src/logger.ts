import { type Logger, pino } from 'pino';
import { openLogDestination } from './log-destination.ts';

export type { Logger };

/**
 * A structured logger: one JSON object a line on stderr, with `program` in every line. It never waits for stderr, and
 * drops what that does not take (log-destination.ts).
 * Level from L4D_LOG_LEVEL (trace, debug, info, warn, error, silent), info by default.
 */
export function createLogger(program: string): Logger {
  const level = process.env['L4D_LOG_LEVEL'] ?? 'info';
  return pino(
    { level, base: { program, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    openLogDestination(),
  );
}
