/** `npm run demo`: raises a lab, tells all stories in it, and takes it down again. Exit code 0: every fact holds. */
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { labPicture } from '../lab/core/lab-picture.ts';
import { createLab } from '../lab/lab.ts';
import { twoTor } from '../lab/topologies/two-tor.ts';
import { scenarios } from '../scenarios/all.ts';
import { createFabric } from '../scenarios/fabric.ts';
import { createPrinter } from './printer.ts';
import { tellStories } from './stories.ts';

const only = process.argv.slice(2);
const known = scenarios.map(({ name }) => name);
const unknown = only.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`demo: no story is named ${unknown.join(', ')}; there are ${known.join(', ')}\n`);
  process.exit(exitCode.usage);
}

const printer = createPrinter({
  write: (text) => process.stdout.write(text),
  colours: process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined,
});
const lab = createLab(twoTor, { id: process.env['L4D_LAB_ID'] ?? 'demo' });
let leaving: Promise<void> | undefined;
/** Takes the lab down, once, whoever asks. */
const leave = () => {
  leaving ??= lab.down();
  return leaving;
};
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.on(signal, () => {
    printer.line(`\n${signal}: taking the lab down`);
    leave().then(
      () => process.exit(code),
      () => process.exit(exitCode.failure),
    );
  });
}

process.exitCode = await run();

async function run(): Promise<number> {
  const start = performance.now();
  const seconds = () => `${((performance.now() - start) / 1000).toFixed(0)} s`;
  try {
    // Also what a killed run has left.
    await lab.down();
    printer.line('l4d: a data centre on this machine, and what the fabric does in it\n');
    await lab.up();
    printer.line(labPicture(twoTor));
    const told = scenarios.filter(({ name }) => only.length === 0 || only.includes(name));
    const outcome = await tellStories(createFabric(lab), told, printer, () => leaving !== undefined);
    if (leaving !== undefined) return exitCode.failure;
    await leave();
    printer.summary(outcome, seconds());
    return outcome.every(({ holds }) => holds) ? exitCode.ok : exitCode.failure;
  } catch (error) {
    // What fails while we are leaving fails because we are.
    if (leaving !== undefined) await leaving.catch(() => {});
    else await leave();
    if (!(error instanceof OperatorError)) throw error;
    process.stderr.write(`demo: ${error.message}\n`);
    return error.exitCode;
  }
}
