/** announcer/RFC.md names files and tests that are there. */
import { expect, it } from 'vitest';
import { filesBelow, readSource } from './support/source-files.ts';

interface Row {
  readonly line: string;
  readonly files: readonly string[];
  readonly tests: readonly string[];
  readonly quoted: readonly string[];
}

const paths = ['announcer/src', 'test', 'bpf', 'l4d', 'tools'].flatMap((folder) => filesBelow(folder, '.ts'));

/** A path as the table has it: below the source folder, a folder of it, or in full. */
const resolve = (name: string) => paths.filter((path) => path === name || path.endsWith(`/${name}`));

const namesIn = (cell: string) => [...cell.matchAll(/[\w./-]+\.ts\b/g)].map(([name]) => name);

const rows: Row[] = readSource('announcer/RFC.md')
  .split('\n')
  .filter((line) => /^\| (?!-)/.test(line) && !/^\| (section|RFC)\b/.test(line))
  .map((line) => {
    const [files = '', tests = ''] = line.split('|').slice(1, -1).slice(-2);
    const quoted = [...tests.matchAll(/"([^"]+)"/g)].map(([, text = '']) => text.replace(/ ?\.\.\.$/, ''));
    return { line, files: namesIn(files), tests: namesIn(tests), quoted };
  });

it('has rows', () => {
  expect(rows.length).toBeGreaterThan(60);
});

it('names files that are there', () => {
  const missing = rows.flatMap(({ files, tests }) =>
    [...files, ...tests].filter((name) => resolve(name).length === 0),
  );
  expect(missing).toEqual([]);
});

it('gives a test in every row that has a file', () => {
  const untested = rows.filter(({ files, tests }) => files.length > 0 && tests.length === 0);
  expect(untested.map(({ line }) => line)).toEqual([]);
});

it('quotes names that the tests of the row have', () => {
  const missing = rows.flatMap(({ tests, quoted }) => {
    const text = tests.flatMap(resolve).map(readSource).join('\n');
    return quoted.filter((name) => !text.includes(name)).map((name) => `${name} in ${tests.join(', ')}`);
  });
  expect(missing).toEqual([]);
});
