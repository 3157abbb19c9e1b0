/**
 * Dependencies point one way, and what is called pure is pure:
 *
 *   kit ← health ← announcer ← l4d ← tools        l7 imports the kit alone
 *   bpf/ holds C, which includes nothing of ours from elsewhere, and tests
 *   core/ imports no io/, no app/, no Node module, and reads neither clock nor chance
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  filesBelow,
  importsOf,
  readSource,
  repositoryRoot,
  type SourceImport,
  withoutComments,
} from './support/source-files.ts';

/** Areas by the beginning of their paths, the most specific first, and the areas that each may import. */
const areas: readonly (readonly [folder: string, mayImport: readonly string[]])[] = [
  ['l4d/kit/', ['l4d/kit/']],
  ['l4d/health/', ['l4d/health/', 'l4d/kit/']],
  ['announcer/', ['announcer/', 'l4d/health/', 'l4d/kit/']],
  ['l7/', ['l7/', 'l4d/kit/']],
  ['l4d/', ['l4d/', 'announcer/', 'l4d/health/', 'l4d/kit/']],
  ['tools/', ['tools/', 'l4d/', 'announcer/', 'l7/', 'l4d/health/', 'l4d/kit/', 'bpf/']],
  ['bpf/', ['bpf/', 'l4d/', 'l4d/kit/']],
  ['test/', ['test/', 'tools/', 'bpf/', 'l4d/', 'announcer/', 'l7/', 'l4d/health/', 'l4d/kit/']],
];

const areaOf = (path: string) => areas.find(([folder]) => path.startsWith(folder))?.[0] ?? path;
const mayImport = (path: string) => areas.find(([folder]) => path.startsWith(folder))?.[1] ?? [];

const files = areas.flatMap(([folder]) => filesBelow(folder, '.ts'));
const sources = [...new Set(files)];
const isTest = (path: string) => path.endsWith('.test.ts');
const isCore = (path: string) => path.includes('/core/') && !isTest(path);

/** Packages without effects, which core/ may use. */
const purePackages = new Set(['zod', 'yaml']);
/** Node's modules that compute and nothing else, which the kit's pure files may use. */
const pureNodeModules = new Set(['node:util']);

describe('dependencies point one way', () => {
  it('finds what it is about', () => {
    expect(sources.length).toBeGreaterThan(200);
    expect(sources.flatMap(importsOf).length).toBeGreaterThan(700);
  });

  it('every import of ours names a file that is there', () => {
    const broken = sources.flatMap((path) =>
      importsOf(path)
        .filter((found) => found.path !== undefined && !existsSync(join(repositoryRoot, found.path)))
        .map((found) => `${path} -> ${found.specifier}`),
    );
    expect(broken).toEqual([]);
  });

  it('no arrow points back', () => {
    const back = sources.flatMap((path) =>
      importsOf(path)
        .filter((found) => found.path !== undefined && !mayImport(path).includes(areaOf(found.path)))
        .map((found) => `${path} -> ${found.specifier}`),
    );
    expect(back).toEqual([]);
  });

  it('the C programs include nothing of ours from elsewhere', () => {
    const foreign = [...filesBelow('bpf', '.c'), ...filesBelow('bpf', '.h')].flatMap((path) =>
      [...readSource(path).matchAll(/^\s*#\s*include\s+([<"])([^>"]+)[>"]/gm)]
        .filter(([, kind, name = '']) =>
          kind === '<'
            ? !/^(?:linux|bpf)\//.test(name)
            : !existsSync(join(repositoryRoot, 'bpf/include', name)),
        )
        .map(([line]) => `${path}: ${line.trim()}`),
    );
    expect(foreign).toEqual([]);
  });
});

describe('core/ is pure', () => {
  const core = sources.filter(isCore);

  it('imports neither shell nor composition, and no package with effects', () => {
    const wrong = core.flatMap((path) =>
      importsOf(path)
        .filter(({ specifier, path: target }) => {
          if (target === undefined) return !purePackages.has(specifier);
          return !target.startsWith('l4d/kit/') && !isCoreTarget(path, target);
        })
        .map(({ specifier }) => `${path} -> ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  it('reaches no Node module, by way of the kit neither', () => {
    const wrong = core.flatMap((path) => {
      const way = wayToNode(path, new Set());
      return way === undefined ? [] : [[path, ...way].join(' -> ')];
    });
    expect(wrong).toEqual([]);
  });

  it('reads no clock, no chance, no environment, and logs nothing', () => {
    const effects =
      /Math\.random|Date\.now|new Date\(\)|performance\.now|crypto\.|process\.|console\.|\bset(?:Timeout|Interval|Immediate)\(|\bfetch\(/;
    const wrong = core.flatMap((path) => {
      const found = effects.exec(withoutComments(readSource(path)));
      return found === null ? [] : [`${path}: ${found[0]}`];
    });
    expect(wrong).toEqual([]);
  });
});

/** A file of some core/; data that a tool keeps beside it (the lab's topologies) counts too. */
function isCoreTarget(from: string, target: string): boolean {
  return (
    target.includes('/core/') || (from.startsWith('tools/lab/') && target.startsWith('tools/lab/topologies/'))
  );
}

const runs = (found: SourceImport) => !found.typeOnly;

/** The chain of imports from a file to a Node module that has effects; undefined when there is none. */
function wayToNode(path: string, seen: Set<string>): string[] | undefined {
  if (seen.has(path)) return undefined;
  seen.add(path);
  for (const { specifier, path: target } of importsOf(path).filter(runs)) {
    if (specifier.startsWith('node:') && !(pureNodeModules.has(specifier) && !isCore(path)))
      return [specifier];
    if (target === undefined) continue;
    const further = wayToNode(target, seen);
    if (further !== undefined) return [target, ...further];
  }
  return undefined;
}
