import { SyscallError } from '@l4d/kit/errors.ts';
import { formatIpAddress, type IpAddress, type IpFamily, sameIpAddress } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { type AnswerEntry, type AnswerTable, answerFor, answerTable } from '../../core/vrrp/answer-table.ts';
import type { VirtualRouterPlan } from '../../core/vrrp/group-plan.ts';
import { decodeQuestion, encodeAnswer, solicitedNodeGroup } from '../../core/vrrp/neighbour-message.ts';
import {
  type AdvertisementEnvelope,
  decodeAdvertisement,
  type VrrpDrop,
  vrrpGroup,
} from '../../core/vrrp/packet.ts';
import { sourceAddress } from '../../core/vrrp/source-address.ts';
import { virtualMac } from '../../core/vrrp/virtual-mac.ts';
import type { InterfaceView } from './interfaces.ts';
import { quietKernelArp } from './local-addresses.ts';
import {
  createVirtualRouter,
  type RouterEnvironment,
  type RouterPort,
  type VirtualRouter,
} from './router.ts';
import {
  type FrameSender,
  joinGroups,
  openAdvertisementReceiver,
  openFrameSender,
  openQuestionReceiver,
  type Receiver,
} from './sockets.ts';

/** The virtual routers of one interface, and the sockets that they share. */
export interface Segment {
  /** Those that are wanted, under their keys; others leave. */
  configure(plans: readonly VirtualRouterPlan[]): void;
  /** What the interface is now, or why it cannot be used. */
  setInterface(view: InterfaceView | undefined, problem: string | undefined): void;
  readonly routers: ReadonlyMap<string, VirtualRouter>;
  send(frame: Uint8Array): string | undefined;
  interfaceIndex(): number | undefined;
  interfaceMac(): MacAddress | undefined;
  /** Whom its addresses are answered for. */
  answers(): readonly AnswerEntry[];
  /** All leave with priority 0. */
  close(): void;
}

interface Sockets {
  readonly key: string;
  readonly sender: FrameSender;
  readonly receivers: readonly Receiver[];
  readonly memberships: { close(): void };
}

/** Makes a segment without routers. `onDrop` counts advertisements that belong to none of them. */
export function createSegment(
  environment: Omit<RouterEnvironment, 'drain'> & { readonly onAddresses: () => void },
  onDrop: (reason: VrrpDrop) => void,
): Segment {
  const routers = new Map<string, VirtualRouter>();
  let byVrid = new Map<string, VirtualRouter>();
  let tables: Readonly<Record<IpFamily, AnswerTable>> = { 4: new Map(), 6: new Map() };
  let view: InterfaceView | undefined;
  let problem: string | undefined = 'the interface has not been looked at yet';
  let sockets: Sockets | undefined;
  const routerEnvironment: RouterEnvironment = {
    ...environment,
    drain: () => {
      for (const receiver of sockets?.receivers ?? []) receiver.drain();
    },
  };

  function onAdvertisement(bytes: Uint8Array, envelope: AdvertisementEnvelope): void {
    const { source, destination } = envelope;
    const decoded = decodeAdvertisement(bytes, envelope);
    // The identifier is the second octet of whatever it is: so that the drop is counted where it is looked for.
    const router = byVrid.get(`${source.family} ${decoded.ok ? decoded.value.vrid : bytes[1]}`);
    const reason: VrrpDrop | undefined = !decoded.ok
      ? decoded.error
      : !sameIpAddress(destination, vrrpGroup[source.family])
        ? 'wrong-destination'
        : router === undefined
          ? 'unknown-vrid'
          : undefined;
    if (reason !== undefined) {
      if (router === undefined) onDrop(reason);
      else router.countDrop(reason);
    } else if (decoded.ok) router?.receive(decoded.value, source);
  }

  function onQuestion(frame: Uint8Array): void {
    const question = decodeQuestion(frame);
    if (question === undefined) return;
    const { family } = question.target;
    const owner = (vrid: number) => byVrid.get(`${family} ${vrid}`);
    const answer = answerFor(
      tables[family],
      question.target,
      question.client,
      (vrid) => owner(vrid)?.owns() === true,
    );
    if (answer === undefined) return;
    const error = sockets?.sender.send(encodeAnswer(question, answer.mac, answer.isShared));
    if (error === undefined) owner(answer.vrid)?.countAnswer();
  }

  function openSockets(wanted: readonly VirtualRouter[]): void {
    if (view === undefined || wanted.length === 0) {
      closeSockets(sockets);
      sockets = undefined;
      return;
    }
    const { index, name } = view;
    const families = ([4, 6] as const).filter((family) => wanted.some(({ plan }) => plan.family === family));
    const virtual = wanted.filter(({ plan }) => plan.group.useVmac);
    const macs = virtual.map(({ plan }) => virtualMac(plan.family, plan.vrid));
    const groups = groupsOf(wanted);
    const key = JSON.stringify([index, families, macs, groups.map(formatIpAddress)]);
    if (sockets?.key === key) return;
    const receivers: Receiver[] = [];
    const before = sockets;
    try {
      for (const family of families) {
        receivers.push(openAdvertisementReceiver(family, name, index, onAdvertisement));
        receivers.push(openQuestionReceiver(family, index, onQuestion));
      }
      const memberships = joinGroups(groups, index);
      sockets = { key, receivers, memberships, sender: openFrameSender(index, macs) };
      if (families.includes(4)) problem = quietKernelArp(name);
      // Only now: what the old ones would have missed has arrived at the new ones.
      closeSockets(before);
    } catch (error) {
      for (const receiver of receivers) receiver.close();
      if (!(error instanceof SyscallError)) throw error;
      closeSockets(before);
      sockets = undefined;
      problem = `${name}: ${error.message}`;
    }
  }

  function portOf(
    { family, addresses }: VirtualRouterPlan,
    before: IpAddress | undefined,
  ): RouterPort | string {
    if (view === undefined) return problem ?? 'the interface is gone';
    const { name, mac, mtu, ipv4, linkLocals } = view;
    const source = sourceAddress(family === 4 ? ipv4 : linkLocals, addresses, before);
    if (source === undefined) return `${name} has no ${family === 4 ? 'IPv4' : 'IPv6 link-local'} address`;
    if (sockets === undefined) return problem ?? `${name} has no sockets`;
    return { source, mac, mtu, send: (frame) => sockets?.sender.send(frame) ?? undefined };
  }

  function refresh(): void {
    openSockets([...routers.values()]);
    for (const router of routers.values()) {
      const port = portOf(router.plan, router.source());
      if (typeof port === 'string') router.setPort(undefined, port);
      else router.setPort(port, problem);
    }
    tables = { 4: tableOf(4), 6: tableOf(6) };
    environment.onAddresses();
  }

  function tableOf(family: IpFamily): AnswerTable {
    const entries = new Map<string, AnswerEntry>();
    for (const { plan } of routers.values()) {
      if (plan.family !== family) continue;
      const mac = plan.group.useVmac ? undefined : view?.mac;
      for (const address of plan.addresses) {
        const text = formatIpAddress(address);
        const vrids = [...(entries.get(text)?.vrids ?? []), plan.vrid];
        entries.set(text, { address, vrids, mac });
      }
    }
    return answerTable([...entries.values()]);
  }

  return {
    routers,
    configure(plans) {
      const wanted = new Map(plans.map((plan) => [plan.key, plan]));
      for (const [key, router] of [...routers]) {
        if (wanted.has(key)) continue;
        router.close();
        routers.delete(key);
      }
      for (const [key, plan] of wanted) {
        const router = routers.get(key);
        if (router === undefined) routers.set(key, createVirtualRouter(plan, routerEnvironment));
        else router.reconfigure(plan);
      }
      byVrid = new Map(
        [...routers.values()].map((router) => [`${router.plan.family} ${router.plan.vrid}`, router]),
      );
      refresh();
    },
    setInterface(changed, why) {
      const isOther = changed?.index !== view?.index;
      view = changed;
      problem = why;
      if (isOther) {
        for (const router of routers.values()) router.setPort(undefined, why);
        closeSockets(sockets);
        sockets = undefined;
      }
      refresh();
    },
    send: (frame) => (sockets === undefined ? 'ENODEV' : sockets.sender.send(frame)),
    interfaceIndex: () => view?.index,
    interfaceMac: () => view?.mac,
    answers: () => [...tables[4].values(), ...tables[6].values()],
    close() {
      for (const router of routers.values()) router.close();
      closeSockets(sockets);
      sockets = undefined;
    },
  };
}

/** Where solicitations for IPv6 addresses go to, each once. */
function groupsOf(routers: readonly VirtualRouter[]): IpAddress[] {
  const groups = routers
    .flatMap(({ plan }) => plan.addresses)
    .filter(({ family }) => family === 6)
    .map(solicitedNodeGroup);
  return [...new Map(groups.map((group) => [formatIpAddress(group), group])).values()];
}

function closeSockets(sockets: Sockets | undefined): void {
  for (const receiver of sockets?.receivers ?? []) receiver.close();
  sockets?.memberships.close();
  sockets?.sender.close();
}
