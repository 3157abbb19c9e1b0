/**
 * `npm run package`: the announcer alone, as a tar file that runs on any Linux with Node 24: bundle, the foreign function
 * interface with its native part for this architecture, a starter, a Dockerfile. For hosts that need no data plane.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';

const root = join(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(join(root, 'announcer/package.json'), 'utf8')) as {
  version: string;
};
const name = `l4-announcer-${version}-linux-${process.arch}`;
const target = resolve(process.argv[2] ?? join(root, `${name}.tar.gz`));

const folder = mkdtempSync(join(tmpdir(), 'l4-announcer-package-'));
try {
  const inside = join(folder, name);
  execFileSync(process.execPath, [join(root, 'tools/bundle/main.ts')], { stdio: 'inherit' });
  const own = JSON.parse(readFileSync(join(root, 'announcer/dist/own.json'), 'utf8')) as readonly string[];
  const files = join(import.meta.dirname, 'announcer');
  mkdirSync(join(inside, 'bin'), { recursive: true });
  cpSync(join(root, 'announcer/dist'), join(inside, 'dist'), {
    recursive: true,
    filter: (path) => isPartOf(new Set(own), path),
  });
  cpSync(join(files, 'l4-announcer'), join(inside, 'bin/l4-announcer'));
  chmodSync(join(inside, 'bin/l4-announcer'), 0o755);
  cpSync(join(files, 'Dockerfile'), join(inside, 'Dockerfile'));
  for (const part of [
    'koffi/package.json',
    'koffi/index.js',
    'koffi/src',
    'koffi/lib',
    'koffi/LICENSE.txt',
  ]) {
    cpSync(join(root, 'node_modules', part), join(inside, 'node_modules', part), {
      recursive: true,
      // The native part comes built.
      filter: (path) => !/\.(cc|hh|S|asm|txt|inc|ld|def)$/.test(path) || path.endsWith('LICENSE.txt'),
    });
  }
  const native = `@koromix/koffi-linux-${process.arch}`;
  cpSync(join(root, 'node_modules', native), join(inside, 'node_modules', native), { recursive: true });
  execFileSync('tar', ['-C', folder, '--owner=0', '--group=0', '-czf', target, name]);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(`${target}\n`);

/** The folder itself and the files of this bundle, without what is of use beside the sources alone. */
function isPartOf(own: ReadonlySet<string>, path: string): boolean {
  const file = basename(path);
  return file === 'dist' || (own.has(file) && file !== 'made-of.json');
}
