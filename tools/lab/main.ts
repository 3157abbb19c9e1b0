import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { Command, Option } from 'commander';
import { defaultLabId, labNames } from './core/lab-names.ts';
import { labPicture, labUsage } from './core/lab-picture.ts';
import { formatStatus } from './core/lab-status.ts';
import { topologies, topologyNamed } from './core/topologies.ts';
import type { Topology } from './core/topology.ts';
import { repositoryRoot } from './io/build-lab.ts';
import { readStatus } from './io/read-status.ts';
import { writeMachines } from './io/write-machines.ts';
import { createLab, type Lab, runningTopology } from './lab.ts';

interface LabOptions {
  readonly id: string;
  readonly topology?: string;
}

const program = new Command('lab')
  .description('a small data centre in network namespaces: routers, l4d hosts, backends and a client')
  .showHelpAfterError()
  .enablePositionalOptions();

withOptions(program.command('up'))
  .description('build the lab')
  .action(async (options: LabOptions) => {
    const topology = chosenTopology(options.topology);
    const start = performance.now();
    const lab = createLab(topology, options);
    const undo = (code: number) => () => {
      const leave = () => process.exit(code);
      lab.down().then(leave, leave);
    };
    process.once('SIGINT', undo(130)).once('SIGTERM', undo(143)).once('SIGHUP', undo(129));
    await lab.up();
    process.stdout.write(labPicture(topology));
    const names = labNames(options.id);
    if (names.ok) process.stdout.write(`\n${labUsage(topology, names.value)}`);
    process.stdout.write(`\nup after ${((performance.now() - start) / 1000).toFixed(1)} s\n`);
  });

withOptions(program.command('down'))
  .description('remove the lab and all that runs in it')
  .action(async (options: LabOptions) => {
    const lab = await labOf(options).catch(() => createLab(chosenTopology(options.topology), options));
    await lab.down();
    process.stdout.write(`lab "${lab.id}" is down\n`);
  });

withOptions(program.command('status'))
  .description('show hosts, addresses, processes and the BGP sessions of the routers')
  .action(async (options: LabOptions) => {
    const lab = await labOf(options);
    process.stdout.write(formatStatus(await readStatus(lab)));
  });

withOptions(program.command('shell'))
  .description('open a shell on a host, or run a command there')
  .argument('<host>', 'name of the host')
  .argument('[command...]', 'what to run instead of a shell')
  .passThroughOptions()
  .action(async (host: string, command: readonly string[], options: LabOptions) => {
    const lab = await labOf(options);
    process.exitCode = await runOnHost(lab, host, command);
  });

program
  .command('machines')
  .description('write the data of the virtual machines (tools/provision/TOPOLOGY.json)')
  .action(async () => {
    for (const topology of topologies) process.stdout.write(`${await writeMachines(topology)}\n`);
  });

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof OperatorError)) throw error;
  process.stderr.write(`lab: ${error.message}\n`);
  process.exitCode = error.exitCode;
}

function withOptions(command: Command): Command {
  const names = topologies.map(({ name }) => name);
  return command
    .addOption(new Option('--topology <name>', 'what to build').choices(names))
    .addOption(new Option('--id <id>', 'name of the lab; several can be up').default(defaultLabId));
}

function chosenTopology(name: string | undefined): Topology {
  const topology = name === undefined ? topologies[0] : topologyNamed(name);
  if (topology === undefined) throw new OperatorError(`there is no topology "${name}"`, exitCode.usage);
  return topology;
}

/** The lab that is up under that id. */
async function labOf(options: LabOptions): Promise<Lab> {
  const name = await runningTopology(options.id);
  if (name === undefined) {
    const option = options.id === defaultLabId ? '' : ` --id ${options.id}`;
    const message = `lab "${options.id}" is not up: "npm run lab -- up${option}" builds it`;
    throw new OperatorError(message, exitCode.unavailable);
  }
  return createLab(chosenTopology(name), options);
}

async function runOnHost(lab: Lab, host: string, command: readonly string[]): Promise<number> {
  // Also refuses a host that is not there, before anything is started.
  const environment = lab.env(host);
  if (process.getuid?.() !== 0) {
    throw new OperatorError("entering a host's namespace needs root (try sudo)", exitCode.permission);
  }
  const argv = command.length > 0 ? command : ['bash', '--noprofile', '--norc'];
  const own = join(lab.folder(host), 'bin');
  writeVtysh(own, join(lab.folder(host), 'frr'));
  const child = lab.spawn(host, argv, {
    stdio: 'inherit',
    env: {
      ...environment,
      PATH: `${own}:${join(repositoryRoot, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`,
      PS1: `${lab.id}/${host}# `,
    },
  });
  // The terminal sends its interrupts to the shell too: they are for it.
  for (const name of ['SIGINT', 'SIGQUIT'] as const) process.on(name, () => {});
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? exitCode.failure;
}

/** On a router of the lab vtysh finds that router's daemons: those of one machine share its file system. */
function writeVtysh(folder: string, sockets: string): void {
  if (!existsSync(sockets)) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'vtysh'), `#!/bin/sh\nexec /usr/bin/vtysh --vty_socket ${sockets} "$@"\n`, {
    mode: 0o755,
  });
}
