import { type Command, Option } from 'commander';
import { type Fields, given, parseFieldArgument, parseNumberArgument, patchOf } from './arguments.ts';
import { printChange } from './change-answer.ts';
import type { Ctl } from './ctl.ts';

interface HostOptions {
  readonly interface?: string;
  readonly xdpMode?: string;
  readonly metrics?: string;
  readonly as?: number;
  readonly routerId?: string;
  readonly listen?: boolean;
  readonly nextHop4?: string;
  readonly nextHop6?: string;
}

/** `l4ctl host …`. */
export function addHostCommands(program: Command, ctl: Ctl): void {
  const host = program.command('host').description('this host: show, set, drain, undrain');
  host
    .command('show')
    .description('the host as declared')
    .action(async () => {
      const answer = (await ctl.ask('GET', '/v1/host')) as { readonly host: Fields };
      ctl.print(answer, () => {
        const lines = Object.entries(answer.host).map(
          ([key, value]) => `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}\n`,
        );
        return lines.join('');
      });
    });
  host
    .command('set [field=value...]')
    .description(
      'change what is declared of the host: by options, or fields by their names in the configuration; null is the default',
    )
    .addHelpText(
      'after',
      `
A value is JSON, or else text; FIELD.FIELD is a field within a mapping, whose other fields stay.

Examples:
  l4ctl host set flowInserts=10000 capacity.flows=1048576
  l4ctl host set interfaces='["eth2"]' tunnel.sourceIpv4=10.200.0.0/16`,
    )
    .option('--interface <name>', 'where VIP traffic arrives; auto: that of the default route')
    .option('--xdp-mode <mode>', 'auto, native or generic')
    .option('--metrics <address:port>', 'serve /metrics here too')
    .option('--as <number>', 'own autonomous system', parseNumberArgument)
    .option('--router-id <address>', 'own BGP identifier')
    .option('--listen', 'let routers open BGP sessions')
    .addOption(new Option('--no-listen', 'open BGP sessions from here only').default(undefined))
    .option('--next-hop4 <address>', 'IPv4 next hop announced')
    .option('--next-hop6 <address>', 'IPv6 next hop announced')
    .action(async (fields: readonly string[], options: HostOptions, command: Command) => {
      const changes = fields.map(parseFieldArgument);
      const { host: before } = (await ctl.ask('GET', '/v1/host')) as {
        readonly host: Fields & { bgp?: Fields; nextHops?: Fields };
      };
      const bgp = given({ as: options.as, routerId: options.routerId, listen: options.listen });
      const nextHops = given({ ipv4: options.nextHop4, ipv6: options.nextHop6 });
      const byOptions = given({
        interface: options.interface,
        xdpMode: options.xdpMode,
        metrics: options.metrics,
        bgp: Object.keys(bgp).length > 0 ? { ...before.bgp, ...bgp } : undefined,
        nextHops: Object.keys(nextHops).length > 0 ? { ...before.nextHops, ...nextHops } : undefined,
      });
      const patch = { ...byOptions, ...patchOf({ ...before, ...byOptions }, changes) };
      if (Object.keys(patch).length === 0) command.error('error: nothing to set was given');
      const answer = await ctl.ask('PATCH', '/v1/host', patch);
      printChange(ctl, answer, 'host changed');
    });
  for (const [verb, draining, what] of [
    ['drain', true, 'withdraw every VIP here and go on forwarding what still comes'],
    ['undrain', false, 'announce the VIPs here again'],
  ] as const) {
    host
      .command(verb)
      .description(what)
      .action(async () => {
        const answer = await ctl.ask('PUT', '/v1/host/draining', { draining });
        printChange(ctl, answer, `host ${draining ? 'drains' : 'no longer drains'}`);
      });
  }
}
