import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { type Command, Option } from 'commander';
import { parseNumberArgument, repeated } from '../arguments.ts';
import type { Ctl } from '../ctl.ts';
import { birdConfig } from './bird.ts';
import { eosConfig } from './eos.ts';
import {
  type DesiredJson,
  type RouterDialect,
  type RouterFacts,
  routerDialects,
  routerFacts,
} from './facts.ts';
import { frrConfig } from './frr.ts';
import { junosConfig } from './junos.ts';
import { sonicConfig } from './sonic.ts';

interface Options {
  readonly for?: string;
  readonly address?: string;
  readonly routerAs?: number;
  readonly vips?: readonly string[];
  readonly range?: string;
  readonly maximumPaths: number;
  readonly maxPrefixes?: number;
}

const writers: Readonly<Record<RouterDialect, (facts: RouterFacts) => string>> = {
  frr: frrConfig,
  bird: birdConfig,
  sonic: sonicConfig,
  eos: eosConfig,
  junos: junosConfig,
};

/** `l4ctl bgp router-config`. */
export function addRouterConfigCommand(bgp: Command, ctl: Ctl): void {
  bgp
    .command('router-config')
    .argument('<dialect>', routerDialects.join(', '))
    .description(
      "the router's side of the sessions, from the desired state of this host (passwords are in it)",
    )
    .addOption(new Option('--for <peer>', 'one router (default: all)'))
    .option(
      '--address <address>',
      "this host's address on the session (default: the one in the router's subnet)",
    )
    .option('--router-as <number>', 'AS of the router, where it is not declared', parseNumberArgument)
    .option(
      '--vips <prefix>',
      'range that VIPs are taken from; again for more (default: those declared now)',
      repeated(String),
    )
    .option('--range <prefix>', 'for all hosts of a subnet, whatever their AS, in place of this one')
    .option('--maximum-paths <number>', 'hosts that share a VIP at most', parseNumberArgument, 64)
    .option(
      '--max-prefixes <number>',
      'routes of a family that end the session (default: as many as --vips permits, 10000 at most, and a tenth)',
      parseNumberArgument,
    )
    .action(async (dialect: string, options: Options) => {
      const write = writers[dialect as RouterDialect];
      if (write === undefined) {
        const allowed = routerDialects.join(', ');
        throw new OperatorError(`"${dialect}" is no dialect (allowed: ${allowed})`, exitCode.usage);
      }
      const answer = (await ctl.ask('GET', '/v1/desired?secrets=show')) as { readonly desired: DesiredJson };
      const peers = (answer.desired.peers ?? []).filter(
        ({ address }) => options.for === undefined || address === options.for,
      );
      if (peers.length === 0) {
        throw new OperatorError(
          options.for === undefined
            ? 'no peers (add one: l4ctl peer add ADDRESS --as NUMBER)'
            : `${options.for} is no peer of this host (see: l4ctl peer ls)`,
        );
      }
      const facts = peers.map((peer) => {
        const found = routerFacts(answer.desired, peer, {
          ...options,
          vipRanges: options.vips ?? [],
          hostAddresses: ctl.env.hostAddresses(),
        });
        if (typeof found === 'string') throw new OperatorError(found, exitCode.config);
        return found;
      });
      ctl.print(facts, () => facts.map(write).join('\n'));
    });
}
