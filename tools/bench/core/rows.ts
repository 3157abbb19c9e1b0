/** One measured number: a case of a bench, of one subject. The shape of `--json`. */
export interface BenchRow {
  readonly bench: string;
  readonly case: string;
  /** `l4d`, a peer's name and version, or `floor`: the least that the measurement itself costs. */
  readonly subject: string;
  readonly metric: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
}

/** A peer that could not be measured. */
export interface MissingPeer {
  readonly subject: string;
  readonly reason: string;
}

/** What a bench gives. */
export interface BenchResult {
  readonly rows: readonly BenchRow[];
  readonly missing: readonly MissingPeer[];
}

/** Median, least and greatest of at least one sample. Throws a TypeError for none. */
export function summarize(samples: readonly number[]): Pick<BenchRow, 'median' | 'min' | 'max' | 'runs'> {
  const sorted = [...samples].sort((a, b) => a - b);
  const [min] = sorted;
  const max = sorted.at(-1);
  if (min === undefined || max === undefined) throw new TypeError('no samples');
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? max;
  const median = sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? min) + upper) / 2;
  return { median, min, max, runs: sorted.length };
}

/**
 * The rows as a table: a line a case and metric, ours first, then every other subject and its ratio
 * to ours (above 1: theirs is the greater number). Cells show the median and, in brackets, the range.
 */
export function formatTable(result: BenchResult): string {
  const others = [...new Set(result.rows.map((row) => row.subject))].filter((subject) => subject !== 'l4d');
  const header = ['case', 'l4d', ...others.flatMap((subject) => [subject, 'ratio'])];
  const keys = [...new Set(result.rows.map(caseKey))];
  const lines = keys.map((key) => {
    const rows = result.rows.filter((row) => caseKey(row) === key);
    const own = rows.find((row) => row.subject === 'l4d');
    const cells = others.flatMap((subject) => {
      const row = rows.find((candidate) => candidate.subject === subject);
      const ratio =
        own !== undefined && row !== undefined && own.median > 0 ? row.median / own.median : undefined;
      return [formatCell(row), ratio === undefined ? '' : ratio.toFixed(2)];
    });
    return [key, formatCell(own), ...cells];
  });
  const widths = header.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => (line[column] ?? '').length)),
  );
  const format = (line: readonly string[]) =>
    line
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  const missing = result.missing.map((peer) => `missing: ${peer.subject} (${peer.reason})`);
  return [format(header), ...lines.map(format), ...missing].join('\n');
}

function caseKey(row: BenchRow): string {
  return `${row.case}, ${row.metric}`;
}

function formatCell(row: BenchRow | undefined): string {
  if (row === undefined) return '-';
  return `${formatNumber(row.median)} ${row.unit} (${formatNumber(row.min)}-${formatNumber(row.max)})`;
}

/** At most three digits after the point, and none where they say nothing. */
function formatNumber(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toString();
  return Number(value.toPrecision(3)).toString();
}
