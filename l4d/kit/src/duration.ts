import { err, ok, type Result } from './result.ts';

declare const durationBrand: unique symbol;

/** A span of time in milliseconds; make one with Milliseconds, Seconds or parseDuration. */
export type Duration = number & { readonly [durationBrand]: true };

/** A span of so many milliseconds. */
export function Milliseconds(count: number): Duration {
  return count as Duration;
}

/** A span of so many seconds. */
export function Seconds(count: number): Duration {
  return (count * 1000) as Duration;
}

const unitMilliseconds: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Parses `500ms`, `2s`, `1.5s`, `5m`, `1h`, `3d`. A bare number is refused: its unit would be a guess. */
export function parseDuration(text: string): Result<Duration, string> {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  const unit = unitMilliseconds[match?.[2] ?? ''];
  if (match === null || unit === undefined) return err(`"${text}" is not a duration such as 500ms, 2s, 5m`);
  return ok(Milliseconds(Number(match[1]) * unit));
}

/** The shortest text that parseDuration reads back exactly, in whole units. */
export function formatDuration(duration: Duration): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const milliseconds = unitMilliseconds[unit] ?? 1;
    if (duration >= milliseconds && duration % milliseconds === 0) return `${duration / milliseconds}${unit}`;
  }
  return `${duration}ms`;
}
