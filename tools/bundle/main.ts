/**
 * Puts each program that is started often or runs beside others into few files of plain JavaScript: no types to take
 * out at the start, no modules that are not used. `start.mjs` of the program (tools/setup/start-bundled.mjs) takes them
 * while they are newer than nothing they were made of; without them it runs the sources.
 */
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { rolldown } from 'rolldown';
import { builtinModules } from './builtin-modules.ts';

const root = join(import.meta.dirname, '../..');

/** Programs: the folder, which gets `dist`, and the main file in it. */
const programs: readonly (readonly [folder: string, main: string])[] = [
  ['announcer', 'src/main.ts'],
  ['l7', 'src/main.ts'],
  ['l4d', 'src/main.ts'],
  ['tools/l4ctl', 'main.ts'],
];

for (const [folder, main] of programs) await bundle(join(root, folder), main);

async function bundle(folder: string, main: string): Promise<void> {
  // Processes that the program starts by their file are programs of their own.
  const processes = globSync('src/**/*-process.ts', { cwd: folder });
  const input = Object.fromEntries(
    [main, ...processes].map((file) => [basename(file, '.ts'), join(folder, file)]),
  );
  const target = join(folder, 'dist');
  const build = await rolldown({
    input,
    platform: 'node',
    // It finds its native part by where it is.
    external: [/^koffi/],
    plugins: [
      builtinModules(),
      { name: 'files', transform: (code: string, id: string) => withPathsFrom(target, dirname(id), code) },
    ],
  });
  const fresh = `${target}.${process.pid}`;
  mkdirSync(fresh, { recursive: true });
  const { output } = await build.write({ dir: fresh, format: 'esm', minify: true });
  await build.close();
  const sources = new Set(output.flatMap((part) => (part.type === 'chunk' ? part.moduleIds : [])));
  const madeOf = [...sources]
    .filter((path) => path.startsWith(root) && !path.includes('/node_modules/'))
    .concat(join(root, 'package-lock.json'))
    .map((path) => [relative(folder, path), statSync(path).mtimeMs]);
  writeFileSync(join(fresh, 'made-of.json'), JSON.stringify(madeOf));
  writeFileSync(join(fresh, 'package.json'), '{ "type": "module" }\n');
  if (sameText(join(target, 'made-of.json'), join(fresh, 'made-of.json'))) {
    rmSync(fresh, { recursive: true });
    return;
  }
  const own = readdirSync(fresh);
  writeFileSync(join(fresh, 'own.json'), JSON.stringify(own));
  keepForTheRunning(target, fresh, new Set(own));
  // Whoever starts now finds the old one, the new one, or none, but no half.
  rmSync(target, { recursive: true, force: true });
  renameSync(fresh, target);
}

/** Files that are found by where a module is: processes of the program are beside the bundle, others where they are. */
function withPathsFrom(target: string, moduleFolder: string, code: string): string {
  return code
    .replace(
      /new URL\('\.\/([\w-]+-process)\.ts', import\.meta\.url\)/g,
      "new URL('./$1.js', import.meta.url)",
    )
    .replace(/new URL\('(\.\.\/[^']*)', import\.meta\.url\)/g, (_, path: string) => {
      const fromTarget = relative(target, join(moduleFolder, path));
      return `new URL('${fromTarget}${path.endsWith('/') ? '/' : ''}', import.meta.url)`;
    });
}

/** A process that was started from the bundle before loads parts of it when it first needs them: they stay, for one more. */
function keepForTheRunning(before: string, fresh: string, own: ReadonlySet<string>): void {
  let names: readonly string[];
  try {
    names = JSON.parse(readFileSync(join(before, 'own.json'), 'utf8')) as readonly string[];
  } catch {
    return;
  }
  for (const name of names) {
    if (!own.has(name) && existsSync(join(before, name))) copyFileSync(join(before, name), join(fresh, name));
  }
}

function sameText(one: string, other: string): boolean {
  return existsSync(one) && readFileSync(one, 'utf8') === readFileSync(other, 'utf8');
}
