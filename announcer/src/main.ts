import { OperatorError } from '@l4d/kit/errors.ts';
import { runAnnouncer } from './app/run-announcer.ts';

const folderFlags: readonly (string | undefined)[] = ['--run-dir', '--state-dir', '--bpf-dir'];

/** The run folder of `--run-dir FOLDER` and the other folders alone; undefined for any other command line. */
function plainRunDir(words: readonly string[]): string | undefined {
  let runDir: string | undefined;
  for (let i = 0; i < words.length; i += 2) {
    if (!folderFlags.includes(words[i]) || words[i + 1] === undefined) return undefined;
    if (words[i] === '--run-dir') runDir = words[i + 1];
  }
  return runDir;
}

try {
  // As the daemon starts it: what is for people takes no memory then.
  const runDir = plainRunDir(process.argv.slice(2));
  if (runDir !== undefined) await runAnnouncer(runDir);
  else await (await import('./app/command-line.ts')).runCommandLine();
} catch (error) {
  if (!(error instanceof OperatorError)) throw error;
  process.stderr.write(`l4-announcer: ${error.message}\n`);
  process.exit(error.exitCode);
}
