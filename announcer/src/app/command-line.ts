import { ConfigError, exitCode } from '@l4d/kit/errors.ts';
import { didYouMean } from '@l4d/kit/schema/problem.ts';
import { Command, Option } from 'commander';
import { announcerVersion } from '../core/version.ts';
import { addSidecarCommands } from '../sidecar/app/commands.ts';
import { runAnnouncer } from './run-announcer.ts';

/** Does what a command line says. Throws OperatorError; what is wrong with the line itself ends the process. */
export async function runCommandLine(): Promise<void> {
  const program = new Command('l4-announcer')
    .description('BGP-4 speaker of l4d: announces VIP prefixes to routers')
    .version(announcerVersion)
    .option(
      '--run-dir <folder>',
      'folder of the API socket (L4D_RUN_DIR)',
      process.env['L4D_RUN_DIR'] ?? '/run/l4d',
    )
    .option(
      '--state-dir <folder>',
      'folder of what a sidecar keeps (L4D_STATE_DIR)',
      process.env['L4D_STATE_DIR'] ?? '/var/lib/l4d',
    )
    // One set of folder flags for all of l4d's programs, so that one line can start any of them.
    .addOption(new Option('--bpf-dir <folder>', 'not used: the announcer has no programs').hideHelp())
    .exitOverride((error) => process.exit(error.exitCode === 0 ? exitCode.ok : exitCode.usage))
    .option('--take-over', 'take the sessions of the announcer that runs in the run folder, which then ends')
    .action(({ runDir, takeOver }: { runDir: string; takeOver?: true }) => {
      refuseUnknown(program);
      return runAnnouncer(runDir, takeOver);
    });
  addSidecarCommands(program);
  // Last, as subcommands inherit it: an unknown command is to be named, also with options of its own behind it.
  program.allowExcessArguments().allowUnknownOption();
  try {
    await program.parseAsync();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(exitCode.config);
  }
}

/** Ends the process when words are left that are neither a command nor options of the program itself. */
function refuseUnknown(program: Command): void {
  const [word] = program.args;
  if (word === undefined) return;
  const isOption = word.startsWith('-');
  const known = isOption
    ? program.options.flatMap(({ long }) => long ?? [])
    : program.commands.map((command) => command.name());
  const hint = didYouMean(word, known) ?? `allowed: ${known.join(', ')}`;
  program.error(`error: unknown ${isOption ? 'option' : 'command'} "${word}" (${hint})`);
}
