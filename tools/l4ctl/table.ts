/** A column: its head, and whether its cells stand to the right. */
export interface Column {
  readonly head: string;
  readonly right?: boolean;
}

/** Lines of aligned columns, two spaces apart, the heads first; each line begins with `indent`. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  indent = '',
): string {
  const widths = columns.map((column, index) =>
    Math.max(column.head.length, ...rows.map((row) => row[index]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    `${indent}${columns
      .map(({ right }, index) => {
        const cell = cells[index] ?? '';
        const width = widths[index] ?? 0;
        return right === true ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd()}\n`;
  return [line(columns.map((column) => column.head)), ...rows.map(line)].join('');
}

/** A count as it is up to 99999, then with K, M, G, T (powers of 1000). */
export function compactCount(count: number): string {
  let value = count;
  let unit = '';
  for (const next of ['K', 'M', 'G', 'T']) {
    if (value < 100_000) break;
    value /= 1000;
    unit = next;
  }
  return `${Math.floor(value)}${unit}`;
}

/** A span as routers print it: 00:04:09, 2d03h, 5w1d. */
export function formatUptime(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor(seconds / 3600) % 24;
  const two = (value: number) => String(value).padStart(2, '0');
  if (days >= 7) return `${Math.floor(days / 7)}w${days % 7}d`;
  if (days >= 1) return `${days}d${two(hours)}h`;
  return `${two(hours)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}
