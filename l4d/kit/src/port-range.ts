import { err, ok, type Result } from './result.ts';

/** Ports from `first` to `last`, both included, 1 to 65535. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Parses `FIRST-LAST`. */
export function parsePortRange(text: string): Result<PortRange, string> {
  const [, first, last] = /^(\d{1,5})-(\d{1,5})$/.exec(text) ?? [];
  const range = { first: Number(first), last: Number(last) };
  const isRange =
    first !== undefined && range.first >= 1 && range.last <= 65_535 && range.first <= range.last;
  return isRange ? ok(range) : err(`"${text}" is not a range of ports`);
}

/** `FIRST-LAST`. */
export function formatPortRange({ first, last }: PortRange): string {
  return `${first}-${last}`;
}
