import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root, with a slash at its end. */
export const repositoryRoot = fileURLToPath(new URL('../../../', import.meta.url));

const ignored = new Set(['node_modules', '.git', 'build', 'coverage', '.vagrant', '.lab']);

/** Paths below `folder` that end in `extension`, relative to the root, sorted. */
export function filesBelow(folder: string, extension: string): string[] {
  return readdirSync(join(repositoryRoot, folder), { withFileTypes: true })
    .flatMap((entry) => {
      if (ignored.has(entry.name)) return [];
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return filesBelow(path, extension);
      return entry.name.endsWith(extension) ? [path] : [];
    })
    .sort();
}

/** Text of a file, its path relative to the root. */
export function readSource(path: string): string {
  return readFileSync(join(repositoryRoot, path), 'utf8');
}

/** The text without comments; strings are left as they are. */
export function withoutComments(text: string): string {
  return text.replace(
    /(['"`])(?:\\.|(?!\1)[^\\])*\1|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (match, quote: string | undefined) => (quote === undefined ? '' : match),
  );
}

/** One import or re-export. */
export interface SourceImport {
  /** As written: `./x.ts`, `@l4d/kit/x.ts`, `node:fs`, `zod`. */
  readonly specifier: string;
  /** The file of ours that it names, relative to the root; undefined for Node's modules and packages. */
  readonly path: string | undefined;
  /** Erased before it runs. */
  readonly typeOnly: boolean;
}

/** Folder of each workspace's sources, by the name that others import it by. */
const workspaceFolders: Readonly<Record<string, string>> = {
  '@l4d/kit': 'l4d/kit/src',
  '@l4d/health': 'l4d/health/src',
  '@l4d/announcer': 'announcer/src',
  '@l4d/l4d': 'l4d/src',
  '@l4d/l7': 'l7/src',
  '@l4d/tools': 'tools',
};

/** The imports of a TypeScript file. */
export function importsOf(path: string): SourceImport[] {
  const text = withoutComments(readSource(path));
  const statements = text.matchAll(
    /^\s*(?:import|export)\s+(type\s+)?(?:[\w*\s{},$]+?\s+from\s+)?'([^']+)'/gm,
  );
  const dynamic = text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g);
  return [
    ...[...statements].map(([, type, specifier = '']) => ({ specifier, typeOnly: type !== undefined })),
    ...[...dynamic].map(([, specifier = '']) => ({ specifier, typeOnly: false })),
  ].map((found) => ({ ...found, path: resolve(path, found.specifier) }));
}

function resolve(from: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return normalize(join(dirname(from), specifier));
  const [scope, name, ...rest] = specifier.split('/');
  const folder = workspaceFolders[`${scope}/${name}`];
  return folder === undefined ? undefined : join(folder, ...rest);
}
