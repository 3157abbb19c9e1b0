// Starts a program from its bundle (tools/bundle) where there is one of these very sources, else from the sources.
import { readFileSync, statSync } from 'node:fs';

/** `folder`: of the program, as a URL with a slash at its end; `sources`: its main file in there. */
export async function startProgram(folder, sources) {
  const dist = new URL('dist/', folder);
  await import((isCurrent(dist, folder) ? new URL('main.js', dist) : new URL(sources, folder)).href);
}

function isCurrent(dist, folder) {
  try {
    const madeOf = JSON.parse(readFileSync(new URL('made-of.json', dist), 'utf8'));
    return madeOf.every(([path, time]) => statSync(new URL(path, folder)).mtimeMs === time);
  } catch {
    return false;
  }
}
