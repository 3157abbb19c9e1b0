import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { Command } from 'commander';
import { runProxy } from './app.ts';

const program = new Command('l4-proxy')
  .description('Policy proxy of one host: serves the VIPs whose connections need more than forwarding.')
  .option('--run-dir <path>', 'folder of the API socket proxy.sock', process.env['L4D_RUN_DIR'] ?? '/run/l4d')
  .option(
    '--bpf-dir <path>',
    'bpffs folder of the pinned maps',
    process.env['L4D_BPF_DIR'] ?? '/sys/fs/bpf/l4d',
  )
  .configureOutput({ writeErr: (text) => process.stderr.write(text) })
  .exitOverride((error) => process.exit(error.exitCode === 0 ? exitCode.ok : exitCode.usage));

program.parse();

try {
  await runProxy(program.opts<{ runDir: string; bpfDir: string }>(), createLogger('l4-proxy'));
} catch (error) {
  if (!(error instanceof OperatorError)) throw error;
  process.stderr.write(`l4-proxy: ${error.message}\n`);
  process.exitCode = error.exitCode;
}
