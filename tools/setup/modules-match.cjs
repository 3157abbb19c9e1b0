// Exits with 0 when node_modules holds the versions that package-lock.json names. Plain CommonJS: it runs
// before anything is installed, under whatever Node (>= 18) the machine has.
const { readFileSync, existsSync } = require('node:fs');

function packagesOf(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

const wanted = packagesOf('package-lock.json');
const installed = packagesOf('node_modules/.package-lock.json');

function isInstalled([path, entry]) {
  const found = installed[path];
  // Packages for other machines are optional and left out.
  if (found === undefined) return entry.optional === true || entry.devOptional === true;
  return found.version === entry.version && found.integrity === entry.integrity && existsSync(path);
}

const matches =
  wanted !== undefined &&
  installed !== undefined &&
  Object.entries(wanted)
    .filter(([path]) => path.includes('node_modules/'))
    .every(isInstalled);
process.exit(matches ? 0 : 1);
