/** The pages say what the product does: commands, verdicts, reasons, metrics and examples do not drift. */

import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { parseSidecarConfig } from '@l4d/announcer/sidecar/core/config.ts';
import { parseYaml } from '@l4d/kit/schema/yaml-document.ts';
import { parseConfigText } from '@l4d/l4d/io/config-file.ts';
import { describe, expect, it } from 'vitest';
import { runL4ctl } from '../../tools/l4ctl/program.ts';
import { filesBelow, readSource, repositoryRoot } from './support/source-files.ts';

const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...filesBelow('docs', '.md')];

/** Code blocks of a language with the page that they are on. */
function blocks(language: string): { page: string; text: string }[] {
  return pages.flatMap((page) =>
    [...readSource(page).matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)]
      .filter(([, found]) => found === language)
      .map(([, , text = '']) => ({ page, text })),
  );
}

/** Lines of shell blocks that begin with a program. */
const commandsOf = (program: string) =>
  blocks('sh').flatMap(({ page, text }) =>
    text
      .split('\n')
      .filter((line) => line.startsWith(`${program} `))
      .map((line) => ({
        page,
        words: line
          .replace(/\s+#.*$/, '')
          .split(/\s+/)
          .slice(1),
      })),
  );

describe('pages', () => {
  it('link to files that are there', () => {
    const broken = pages.flatMap((page) =>
      [...readSource(page).matchAll(/\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)/g)]
        .map(([, target = '']) => normalize(join(dirname(page), target)))
        .filter((target) => !existsSync(join(repositoryRoot, target)))
        .map((target) => `${page} -> ${target}`),
    );
    expect(broken).toEqual([]);
  });

  it('name scripts that package.json has', () => {
    const { scripts } = JSON.parse(readSource('package.json')) as { scripts: Record<string, string> };
    const named = pages.flatMap((page) =>
      [...readSource(page).matchAll(/npm (?:run ([\w-]+)|(test)\b)/g)].map(
        ([, script, test]) => script ?? test ?? '',
      ),
    );
    expect(named.length).toBeGreaterThan(10);
    expect([...new Set(named)].filter((name) => scripts[name] === undefined)).toEqual([]);
  });

  it('give configurations that are accepted', () => {
    const examples = blocks('yaml');
    expect(examples.length).toBeGreaterThan(4);
    for (const { page, text } of examples) {
      const parsed = /^services:/m.test(text)
        ? parseYaml(text, page, parseSidecarConfig, 'as, peers and services')
        : parseConfigText(text, page);
      expect(parsed.ok ? '' : parsed.error.message).toBe('');
    }
  });

  it('give commands of l4ctl that exist, with options that exist', async () => {
    const commands = commandsOf('l4ctl');
    expect(commands.length).toBeGreaterThan(30);
    for (const { page, words } of commands) {
      const help = await helpOf(words);
      const line = `${page}: l4ctl ${words.join(' ')}`;
      expect(help, line).toContain('Usage: l4ctl ');
      for (const option of words.filter((word) => /^--?[a-z]/.test(word))) {
        expect(help, line).toMatch(new RegExp(`(?:^|[\\s,])${option}(?=[\\s,])`));
      }
    }
  });

  it('give commands of l4d that exist', () => {
    const source = readSource('l4d/src/main.ts');
    const names = [...source.matchAll(/\.command\('(\w+)/g)].map(([, name]) => name);
    const used = commandsOf('l4d').map(({ words }) => words[0]);
    expect(used.length).toBeGreaterThan(5);
    expect([...new Set(used)].filter((name) => !names.includes(name))).toEqual([]);
  });
});

describe('troubleshooting', () => {
  const page = readSource('docs/operators/troubleshooting.md');
  const rows = (heading: string) => {
    const section = page.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
    return [...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name).toSorted();
  };

  it('explains every verdict', () => {
    const source = readSource('l4d/src/core/status.ts');
    const union = /VerdictCode =([^;]*);/.exec(source)?.[1] ?? '';
    const codes = [...union.matchAll(/'([\w-]+)'/g)].map(([, code]) => code).toSorted();
    expect(codes.length).toBeGreaterThan(5);
    expect(rows('Verdicts')).toEqual(codes);
  });

  it('explains every packet reason', () => {
    const header = readSource('bpf/include/l4d.h');
    const body = /enum reason \{([\s\S]*?)REASON_COUNT/.exec(header)?.[1] ?? '';
    const reasons = [...body.matchAll(/^\s*([A-Z_0-9]+)\s*,/gm)].map(([, name = '']) => name.toLowerCase());
    expect(reasons.length).toBeGreaterThan(10);
    expect(rows('Packet reasons')).toEqual(reasons.toSorted());
  });
});

it('every metric is explained', () => {
  const names = [
    'l4d/src/app/metrics.ts',
    'l4d/src/core/vip-metrics.ts',
    'l4d/src/core/verdict-latency.ts',
    'l4d/src/core/tls-metrics.ts',
    'announcer/src/core/metric-families.ts',
    'announcer/src/core/vrrp/metrics.ts',
  ].flatMap((file) => [...readSource(file).matchAll(/'(l4d_\w+)'/g)].map(([, name = '']) => name));
  const page = readSource('docs/operators/observe.md');
  expect(names.length).toBeGreaterThan(10);
  expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
});

it('the changelog begins with the version of the packages', () => {
  const { version } = JSON.parse(readSource('package.json')) as { version: string };
  expect(/^## (\S+)/m.exec(readSource('CHANGELOG.md'))?.[1]).toBe(version);
});

/** Help of the command that the words begin with. */
async function helpOf(words: readonly string[]): Promise<string> {
  const first = words.findIndex((word) => !word.startsWith('-') && word !== 'json');
  const single = ['status', 'apply', 'diff', 'export', 'undo', 'reconcile'].includes(words[first] ?? '');
  const path = words.slice(first, first + (single ? 1 : 2));
  let output = '';
  await runL4ctl([...path, '--help'], {
    stdout: (text) => {
      output += text;
    },
    stderr: () => {},
    variables: {},
    request: () => Promise.reject(new Error('help asks nobody')),
    stdin: () => Promise.resolve(''),
    stdinBytes: async () => new Uint8Array(0),
    stdoutBytes: () => {},
    isTerminal: false,
    sleep: () => Promise.reject(new Error('the test is over')),
    hostAddresses: () => [],
    now: () => 0,
  });
  // A wrong verb shows the help of its noun.
  return output.includes(`Usage: l4ctl ${path.join(' ')} `) ? output : '';
}
