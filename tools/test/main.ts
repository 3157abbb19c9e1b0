import { addTotals, summaryLine, type Totals } from './core/totals.ts';
import { missingForBpf, missingForIntegration } from './io/requirements.ts';
import { countTests, runProgram, runProject } from './io/steps.ts';

/**
 * `npm test [-- FILTER...]`: style and types, then the tests. What this machine cannot run is listed with the reason
 * and counted as skipped. With filters only the tests whose file's path holds one of them run.
 */

const filters = process.argv.slice(2);
const say = (line = '') => process.stdout.write(`${line}\n`);

const results: { readonly name: string; readonly totals: Totals; readonly seconds: number }[] = [];
const leftOut: string[] = [];

function step(name: string, run: () => Totals): void {
  say(`\n== ${name}`);
  const start = performance.now();
  const totals = run();
  results.push({ name, totals, seconds: (performance.now() - start) / 1000 });
}

function testStep(project: string, about: string, missing: readonly string[]): void {
  if (missing.length === 0) {
    step(`${project}: ${about}`, () => runProject(project, filters));
    return;
  }
  const skipped = countTests(project, filters);
  leftOut.push(`${project} (${about}, ${skipped} tests): needs ${missing.join(', ')}`);
  results.push({ name: `${project}: ${about}`, totals: { passed: 0, failed: 0, skipped }, seconds: 0 });
}

if (filters.length === 0) {
  step('style: format and lint', () => runProgram(['biome', 'check', '.']));
  step('types', () => runProgram(['tsc', '--noEmit']));
}
testStep('unit', 'pure code', []);
testStep('bpf', 'the programs, packet in, packet out', missingForBpf());
testStep('integration', 'the kernel, routers, servers', missingForIntegration());

say('\n== summary');
for (const { name, totals, seconds } of results) {
  say(`${name.padEnd(46)}${summaryLine(totals)} (${seconds.toFixed(1)} s)`);
}
for (const line of leftOut) say(`left out: ${line}`);
const total = addTotals(results.map(({ totals }) => totals));
say();
say(summaryLine(total));
// Nothing run is nothing proved: a filter that fits no file is a mistake.
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
