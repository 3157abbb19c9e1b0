import { isBuiltin } from 'node:module';
import type { Plugin } from 'rolldown';

const marker = '\0builtin:';

/**
 * Takes Node's modules as `require` would. An `import` of one reads all that it exports, also what Node would load
 * when it is first used: `node:http` alone brings a WebSocket and a fetch client with it, 9 MiB that nobody asked for.
 */
export function builtinModules(): Plugin {
  return {
    name: 'builtin-modules',
    resolveId: (id, importer, { kind }) =>
      // The bundler's own part is loaded before all others: it must need none of them.
      kind === 'import-statement' && isBuiltin(id) && !/^\0(builtin|rolldown)/.test(importer ?? '')
        ? { id: `${marker}${id}`, moduleSideEffects: false }
        : undefined,
    load(id) {
      if (!id.startsWith(marker)) return undefined;
      const name = id.slice(marker.length);
      const names = exportedNames(process.getBuiltinModule(name) as object);
      return [
        `const all = process.getBuiltinModule(${JSON.stringify(name)});`,
        'export default all;',
        ...names.map((one) => `export const ${one} = /*#__PURE__*/ (() => all.${one})();`),
      ].join('\n');
    },
  };
}

/** What a module exports. What nobody imports is left out by the bundler, and so is never loaded. */
function exportedNames(all: object): string[] {
  return Object.keys(all).filter((name) => /^[A-Za-z_]\w*$/.test(name) && name !== 'default');
}
