import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import type { Command } from 'commander';
import {
  type FieldArgument,
  type Fields,
  given,
  parseBackendArgument,
  parseCertificateArgument,
  parseCheckArgument,
  parseClassArgument,
  parseClientArgument,
  parseCountOrShare,
  parseDestinationArgument,
  parseFieldArgument,
  parseNumberArgument,
  parseRouteArgument,
  parseVipArgument,
  patchOf,
  repeated,
} from './arguments.ts';
import { printChange } from './change-answer.ts';
import { apiPath, type Ctl } from './ctl.ts';
import { clientClass, clientText } from './vip-class-view.ts';
import { explainVip, type VipAnswer, vipDetail, vipTable } from './vip-view.ts';

interface AddOptions {
  readonly backend?: readonly Fields[];
  readonly name?: string;
  readonly policy?: string;
  readonly class?: readonly Fields[];
  readonly forward?: string;
  readonly check?: Fields;
  readonly checkInterval?: string;
  readonly checkTimeout?: string;
  readonly checkRise?: number;
  readonly checkFall?: number;
  readonly checkHost?: string;
  readonly checkStatus?: string;
  readonly checkSend?: string;
  readonly checkExpect?: string;
  readonly scheduler?: string;
  readonly slowStart?: string;
  readonly onBackendDown?: string;
  readonly minHealthy?: number | string;
  readonly idleTimeout?: string;
  readonly expectedBackends?: number;
  readonly tableSize?: number;
  readonly disabled?: true;
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly route?: readonly Fields[];
  readonly mode?: string;
  readonly destination?: readonly Fields[];
  readonly tls?: readonly Fields[];
  readonly redirectToHttps?: number;
  readonly trustedProxy?: readonly string[];
  readonly acceptProxyProtocol?: true;
  readonly forwardedHeader?: true;
  readonly via?: string;
  readonly proxyProtocol?: string;
  readonly relay?: string;
  readonly source?: string;
  readonly sourceProbe?: readonly string[];
  readonly set?: readonly FieldArgument[];
}

/** `l4ctl vip …`. */
export function addVipCommands(program: Command, ctl: Ctl): void {
  const vip = program
    .command('vip')
    .description('virtual addresses: add, set, rm, ls, show, enable, disable, explain');
  addVipAdd(vip, ctl);
  vip
    .command('rm <name...>')
    .description('remove VIPs with their backends; they are withdrawn first')
    .action(async (names: readonly string[]) => {
      // One change: the guard sees all of it, and one undo takes it back.
      const distinct = [...new Set(names)];
      const query = distinct.map((name) => `name=${encodeURIComponent(name)}`).join('&');
      const answer = await ctl.ask('DELETE', `/v1/vips?${query}`);
      const what = distinct.length === 1 ? `vip ${distinct[0]}` : `${distinct.length} VIPs`;
      printChange(ctl, answer, `${what} removed`);
    });
  vip
    .command('ls')
    .description('all VIPs, a line each')
    .action(async () => {
      const answer = (await ctl.ask('GET', '/v1/vips')) as { readonly vips: readonly VipAnswer[] };
      ctl.print(answer, () => vipTable(answer.vips));
    });
  vip
    .command('show <name>')
    .description('one VIP with its backends and counters')
    .action(async (name: string) => {
      const answer = (await ctl.ask('GET', apiPath`/v1/vips/${name}`)) as VipAnswer;
      ctl.print(answer, () => vipDetail(answer));
    });
  vip
    .command('explain <name>')
    .description('why a VIP is announced, or is not')
    .option('--client <address>', 'and which policy a client gets', parseClientArgument)
    .action(async (name: string, { client }: { readonly client?: IpAddress }) => {
      // A VIP that is declared no more may still be on its way out.
      const { leaving = [] } = (await ctl.ask('GET', '/v1/status')) as FabricStatus;
      const left = leaving.find((one) => one.name === name || one.key === name);
      if (left !== undefined) {
        ctl.print(left, () => `${name} was removed: ${left.ending.text}\n`);
        return;
      }
      const answer = (await ctl.ask('GET', apiPath`/v1/vips/${name}`)) as VipAnswer;
      const found = client === undefined ? undefined : clientClass(answer.vip, client);
      ctl.print(
        found === undefined ? answer : { ...answer, client: found },
        () => `${explainVip(name, answer.status)}${found === undefined ? '' : clientText(found)}`,
      );
    });
  vip
    .command('set <name> <field=value...>')
    .description('change fields of a VIP, by their names in the configuration; null is the default')
    .addHelpText(
      'after',
      `
A value is JSON, or else text; FIELD.FIELD is a field within a mapping, whose other fields stay.

Examples:
  l4ctl vip set web minHealthy=2 idleTimeout=30s
  l4ctl vip set web check.interval=1s announce.med=100
  l4ctl vip set web check='{"type":"http","path":"/health"}' idleTimeout=null`,
    )
    .action(async (name: string, fields: readonly string[]) => {
      const changes = fields.map(parseFieldArgument);
      const { vip: before } = (await ctl.ask('GET', apiPath`/v1/vips/${name}`)) as { readonly vip: Fields };
      const changed = patchOf(before, changes);
      const answer = await ctl.ask('PATCH', apiPath`/v1/vips/${name}`, changed);
      printChange(ctl, answer, `vip ${name} changed`);
    });
  for (const [verb, enabled] of [
    ['enable', true],
    ['disable', false],
  ] as const) {
    vip
      .command(`${verb} <name>`)
      .description(
        enabled
          ? 'announce a VIP again'
          : 'withdraw a VIP; it stays declared, and what still arrives is forwarded',
      )
      .action(async (name: string) => {
        const answer = await ctl.ask('PATCH', apiPath`/v1/vips/${name}`, { enabled });
        printChange(ctl, answer, `vip ${name} ${verb}d`);
      });
  }
}

function addVipAdd(vip: Command, ctl: Ctl): void {
  vip
    .command('add')
    .argument('<address:port[/protocol]>', 'IPv6 in brackets; protocol tcp or udp', parseVipArgument)
    .description('add a VIP')
    .option(
      '-b, --backend <address[=weight]>',
      'a backend; again for each; nat and l7: ADDRESS[:PORT][=WEIGHT], l7 also @POOL; vxlan: ADDRESS[=WEIGHT],vni=NUMBER,remote=ADDRESS[,mac=MAC]; at least one, but for connect and socks',
      repeated(parseBackendArgument),
    )
    .option('--name <name>', 'default ADDRESS-PORT-PROTOCOL')
    .option('--policy <policy>', 'forward (default), l7 or drop: of clients that no --class names')
    .option(
      '--class <prefix=policy>',
      'forward, l7 or drop for clients of a prefix, the longest counts; again for each',
      repeated(parseClassArgument),
    )
    .option('--forward <mode>', 'l2 (default), ipip, gue, vxlan or nat: how packets get to the backends')
    .option(
      '--check <check>',
      'TYPE[:PORT][/PATH]: tcp (default), http:/path, https:/path, grpc, udp, none',
      parseCheckArgument,
    )
    .option('--check-interval <time>', 'such as 2s')
    .option('--check-timeout <time>', 'such as 5s')
    .option('--check-rise <count>', 'good answers that bring a backend up', parseNumberArgument)
    .option('--check-fall <count>', 'bad answers that take it down', parseNumberArgument)
    .option('--check-host <name>', 'Host header of an http check')
    .option('--check-status <codes>', 'good answers of an http check, such as 200-399')
    .option('--check-send <payload>', 'what a udp check sends: text, or 0x and hexadecimal digits')
    .option(
      '--check-expect <payload>',
      'what the answer to a udp check begins with; without it silence is good',
    )
    .option(
      '--scheduler <scheduler>',
      'how a new flow finds its backend: maglev (default), wrr, least-connections, source, source-prefix',
    )
    .option('--slow-start <duration>', 'a backend that comes back gets its weight in steps over so long')
    .option('--on-backend-down <what>', 'TCP flows of a backend that died: keep (default), repick, reset')
    .option(
      '--min-healthy <count>',
      'backends, or a share such as 50%, needed to be announced',
      parseCountOrShare,
    )
    .option('--idle-timeout <time>', 'default 900s for tcp, 90s for udp')
    .option('--expected-backends <count>', 'size the table for so many', parseNumberArgument)
    .option(
      '--table-size <prime>',
      'slots of the table; default by the expected backends',
      parseNumberArgument,
    )
    .option('--disabled', 'declare it without serving it yet')
    .option('--mode <mode>', 'l7: http, tcp, tls-passthrough, connect or socks; udp for protocol udp')
    .option(
      '--destination <where>',
      'l7, connect and socks: [HOST|PREFIX][:PORTS], any for all; again for each',
      repeated(parseDestinationArgument),
    )
    .option('--allow <prefix>', 'l7: clients let in; again for each', repeated(String))
    .option('--deny <prefix>', 'l7: clients kept out; again for each', repeated(String))
    .option('--route <route>', 'l7: [HOST][/PATH]=POOL; again for each', repeated(parseRouteArgument))
    .option(
      '--tls <files>',
      'l7: CERT[,KEY], paths of PEM files; again for each',
      repeated(parseCertificateArgument),
    )
    .option('--redirect-to-https <port>', 'l7: send every request to https at this port', parseNumberArgument)
    .option(
      '--trusted-proxy <prefix>',
      'l7: proxies in front that are believed; again for each',
      repeated(String),
    )
    .option('--accept-proxy-protocol', 'l7: their connections begin with a PROXY header')
    .option('--forwarded-header', 'l7: backends get a Forwarded field too')
    .option('--via <name>', 'l7: backends get a Via field with this name')
    .option('--proxy-protocol <version>', 'l7: v1 or v2; connections to backends begin with a PROXY header')
    .option('--relay <who>', 'l7: proxy (default) or kernel: who passes on the bytes of tunnels')
    .option('--source <who>', "l7: client; connections to backends come from the client's own address")
    .option(
      '--source-probe <address>',
      'l7, with --source: from which return paths are proven; again for each',
      repeated(String),
    )
    .option(
      '--set <field=value>',
      'any other field by its name in the configuration, as vip set takes it; again for each',
      repeated(parseFieldArgument),
    )
    .addHelpText(
      'after',
      `
Examples:
  l4ctl vip add 203.0.113.10:80 -b 10.0.0.21 -b 10.0.0.22=3 --name web --check http:/health
  l4ctl vip add [2001:db8::10]:53/udp -b fd00::21 -b fd00::22
  l4ctl vip add 203.0.113.14:80 --forward vxlan -b 10.42.0.21,vni=42,remote=192.0.2.21 -b 10.42.0.22=3,vni=42,remote=192.0.2.22
  l4ctl vip add 203.0.113.12:any -b 10.0.0.21 -b 10.0.0.22 --check tcp:22
  l4ctl vip add 203.0.113.11:80 --policy l7 -b 10.0.0.21:8080 -b 10.0.0.31:8080@api --route /api=api --route =default
  l4ctl vip add 203.0.113.23:3128 --policy l7 --mode connect --destination '*.example:80,443' --destination 198.51.100.0/24:8000-8999
  l4ctl vip add 203.0.113.24:5432 --policy l7 --mode tcp --relay kernel -b 10.0.0.21:5432
  l4ctl vip add 203.0.113.15:80 -b 10.0.0.21 --class 198.51.100.0/24=l7 --class 198.51.100.66/32=drop
  l4ctl vip add 203.0.113.25:53/udp --policy l7 -b 10.0.0.21 -b 10.0.0.22:5353 --allow 10.0.0.0/8 --set udp.responses=1
  l4ctl vip add 203.0.113.13:443/udp -b 10.0.0.21 -b 10.0.0.22 --set quic.serverIdLength=2`,
    )
    .action(async (where: Fields, options: AddOptions) => {
      const body = vipBody(where, options);
      if (body['backends'] === undefined && body['destinations'] === undefined)
        throw new OperatorError(
          'a backend is needed: --backend ADDRESS (modes connect and socks: --destination WHERE)',
          exitCode.usage,
        );
      const answer = await ctl.ask('POST', '/v1/vips', body);
      const { name } = answer as { readonly name: string };
      printChange(ctl, answer, `vip ${name} added`);
    });
}

function vipBody(where: Fields, options: AddOptions): Fields {
  const timing = given({
    interval: options.checkInterval,
    timeout: options.checkTimeout,
    rise: options.checkRise,
    fall: options.checkFall,
    host: options.checkHost,
    expectStatus: options.checkStatus,
    send: options.checkSend,
    expect: options.checkExpect,
  });
  const checked = options.check !== undefined || Object.keys(timing).length > 0;
  const check = checked ? { type: where.protocol ?? 'tcp', ...options.check, ...timing } : undefined;
  const access = given({ allow: options.allow, deny: options.deny });
  const body = given({
    ...where,
    name: options.name,
    policy: options.policy,
    classes: options.class,
    forward: options.forward,
    check,
    scheduler: options.scheduler,
    slowStart: options.slowStart,
    onBackendDown: options.onBackendDown,
    minHealthy: options.minHealthy,
    idleTimeout: options.idleTimeout,
    expectedBackends: options.expectedBackends,
    tableSize: options.tableSize,
    enabled: options.disabled === true ? false : undefined,
    backends: options.backend,
    access: Object.keys(access).length > 0 ? access : undefined,
    mode: options.mode,
    destinations: options.destination,
    routes: options.route,
    tls: options.tls === undefined ? undefined : { certificates: options.tls },
    redirectToHttps: options.redirectToHttps,
    trustedProxies: options.trustedProxy,
    acceptProxyProtocol: options.acceptProxyProtocol,
    forwardedHeader: options.forwardedHeader,
    via: options.via,
    proxyProtocol: options.proxyProtocol,
    relay: options.relay,
    source: options.source,
    sourceProbes: options.sourceProbe,
  });
  return { ...body, ...patchOf(body, options.set ?? []) };
}
