import { mkdirSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runCommand } from '../../tools/lab/io/run-command.ts';
import { run } from './support/network-namespace.ts';

const module = (path: string) => new URL(`../../l4d/${path}`, import.meta.url).href;
const folder = `/sys/fs/bpf/l4dlink${process.pid}`;
const names = ['a', 'b'].map((role) => `l4dlink${process.pid}-${role}`);
const [first = '', second = ''] = names;

const script = `
  import { createLogger } from '${module('kit/src/logger.ts')}';
  import { attachLookup, lookupIsAttached, openLookupMaps } from '${module('src/io/forwarding/proxy-lookup.ts')}';
  const logger = createLogger('l4d');
  const before = lookupIsAttached('${folder}');
  await attachLookup('${folder}', openLookupMaps('${folder}', logger), logger);
  console.log(before, lookupIsAttached('${folder}'));
  process.exit(0);`;

async function attachIn(namespace: string) {
  const node = [process.execPath, '--input-type=module', '-e', script];
  const answer = await runCommand(['nsenter', `--net=/run/netns/${namespace}`, ...node]);
  const replaced = answer.stderr.includes('is of another network namespace');
  return { said: answer.stdout.trim(), code: answer.code, replaced };
}

beforeEach(() => {
  mkdirSync(folder);
  for (const name of names) run('ip', 'netns', 'add', name);
});
afterEach(async () => {
  rmSync(folder, { recursive: true, force: true });
  for (const name of names) await runCommand(['ip', 'netns', 'delete', name]);
});

it('swaps the program of a link, and replaces a link whose network namespace is another or gone', async () => {
  const attached = { code: 0, replaced: false };
  expect(await attachIn(first)).toEqual({ ...attached, said: 'false true' });
  expect(await attachIn(first)).toEqual({ ...attached, said: 'true true' });
  expect(await attachIn(second)).toEqual({ code: 0, replaced: true, said: 'false true' });
  run('ip', 'netns', 'delete', second);
  run('ip', 'netns', 'add', second);
  expect(await attachIn(second)).toEqual({ code: 0, replaced: true, said: 'false true' });
  expect(await attachIn(second)).toEqual({ ...attached, said: 'true true' });
});
