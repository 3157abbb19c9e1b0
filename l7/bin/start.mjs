// Starts the proxy from its bundle (tools/bundle) where there is one of these very sources, else from the sources.
import { readFileSync, statSync } from 'node:fs';

const dist = new URL('../dist/', import.meta.url);

function bundled() {
  try {
    const madeOf = JSON.parse(readFileSync(new URL('made-of.json', dist), 'utf8'));
    const base = new URL('../', import.meta.url);
    return madeOf.every(([path, time]) => statSync(new URL(path, base)).mtimeMs === time);
  } catch {
    return false;
  }
}

const main = bundled() ? new URL('main.js', dist) : new URL('../src/main.ts', import.meta.url);
await import(main.href);
