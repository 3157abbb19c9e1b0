/**
 * Typed operations on links, addresses, neighbours, routes and rules of the network namespace of
 * the process (the one in which the socket was opened). Nothing here reads /sys or runs a command.
 */
import { InvariantError, SyscallError } from '../errors.ts';
import { constant } from '../ffi/libc.ts';
import type { IpAddress, IpFamily } from '../ip-address.ts';
import type { MacAddress } from '../mac-address.ts';
import type { Result } from '../result.ts';
import type { NetlinkMessage } from './codec.ts';
import {
  decodeAddress,
  encodeAddress,
  encodeAddressRequest,
  type InterfaceAddress,
  type InterfaceAddressSpec,
} from './codec-address.ts';
import { decodeLink, encodeLinkRequest, type Link } from './codec-link.ts';
import {
  decodeNeighbour,
  encodeNeighbour,
  encodeNeighbourRequest,
  type Neighbour,
} from './codec-neighbour.ts';
import {
  decodeRoute,
  encodeRoute,
  encodeRouteLookup,
  encodeRouteRequest,
  type Route,
  type RouteSpec,
} from './codec-route.ts';
import { decodeRule, encodeRule, encodeRuleRequest, type Rule, type RuleSpec } from './codec-rule.ts';
import { messageFlag, messageType, neighbourFlag, neighbourState } from './constants.ts';
import { type NetlinkSocketOptions, openNetlinkSocket } from './socket.ts';

/** The kernel's network configuration. Every operation rejects with SyscallError. */
export interface Rtnetlink {
  /** All interfaces. */
  links(): Promise<Link[]>;
  /** The interface of that index; undefined when there is none. */
  link(index: number): Promise<Link | undefined>;
  /** Addresses of both families, of one interface or of all. */
  addresses(interfaceIndex?: number): Promise<InterfaceAddress[]>;
  /** Puts an address on an interface; false when it was there. */
  addAddress(spec: InterfaceAddressSpec): Promise<boolean>;
  /** Takes an address off an interface; false when it was not there. */
  removeAddress(spec: InterfaceAddressSpec): Promise<boolean>;
  /** Neighbours, of one interface and family or of all. */
  neighbours(filter?: { interfaceIndex?: number; family?: IpFamily }): Promise<Neighbour[]>;
  /** The neighbour of one address; undefined when there is none. */
  neighbour(interfaceIndex: number, address: IpAddress): Promise<Neighbour | undefined>;
  /**
   * Has the kernel resolve an address (NTF_USE): makes the entry when it is missing, sends a request
   * when it is stale or failed, does nothing when it is reachable. The outcome comes as an event.
   */
  resolveNeighbour(interfaceIndex: number, address: IpAddress): Promise<void>;
  /** Has the kernel ask a neighbour now whether it still has this MAC address, also when that was confirmed lately. */
  probeNeighbour(interfaceIndex: number, address: IpAddress, mac: MacAddress): Promise<void>;
  /** Adds or replaces a permanent neighbour, which is never asked for. */
  setPermanentNeighbour(interfaceIndex: number, address: IpAddress, mac: MacAddress): Promise<void>;
  /** Removes a neighbour; false when there was none. */
  removeNeighbour(interfaceIndex: number, address: IpAddress): Promise<boolean>;
  /** Routes of a family, of one table or of all; a table that does not exist has none. */
  routes(family: IpFamily, table?: number): Promise<Route[]>;
  /** The route that packets to an address take; rejects with SyscallError where none leads there. */
  routeTo(address: IpAddress): Promise<Route | undefined>;
  /** Adds a route; EEXIST when there is one to that destination with that priority. */
  addRoute(route: RouteSpec): Promise<void>;
  /** Adds a route, or replaces the one to that destination with that priority. */
  replaceRoute(route: RouteSpec): Promise<void>;
  /** Deletes the route that matches all that is given; false when there was none. */
  deleteRoute(route: RouteSpec): Promise<boolean>;
  /** Rules of a family in order of priority. */
  rules(family: IpFamily): Promise<Rule[]>;
  /** Adds a rule; EEXIST when there is an equal one. */
  addRule(rule: RuleSpec): Promise<void>;
  /** Adds a rule unless there is an equal one; whether it was added. */
  ensureRule(rule: RuleSpec): Promise<boolean>;
  /** Deletes one rule that equals this one; false when there was none. */
  deleteRule(rule: RuleSpec): Promise<boolean>;
  close(): void;
}

/** Opens a request socket to rtnetlink. Throws SyscallError. */
export function openRtnetlink(options: NetlinkSocketOptions = {}): Rtnetlink {
  const socket = openNetlinkSocket(options);
  const { CREATE, EXCLUSIVE, REPLACE } = messageFlag;

  const change = async (call: string, type: number, flags: number, payload: Uint8Array) => {
    await socket.request({ call, type, flags, payload });
  };
  const rules = async (family: IpFamily) => {
    const payload = encodeRuleRequest(family);
    const answers = await socket.dump({ call: 'RTM_GETRULE', type: messageType.GETRULE, payload });
    return decodeAll(answers, messageType.NEWRULE, decodeRule);
  };
  const addRule = (rule: RuleSpec) =>
    change('RTM_NEWRULE', messageType.NEWRULE, CREATE | EXCLUSIVE, encodeRule(rule));

  return {
    async links() {
      const answers = await socket.dump({
        call: 'RTM_GETLINK',
        type: messageType.GETLINK,
        payload: encodeLinkRequest(),
      });
      return decodeAll(answers, messageType.NEWLINK, decodeLink);
    },
    async link(index) {
      const request = { call: 'RTM_GETLINK', type: messageType.GETLINK, payload: encodeLinkRequest(index) };
      const answers = await orUndefined(socket.request(request), constant.ENODEV);
      return answers === undefined ? undefined : decodeAll(answers, messageType.NEWLINK, decodeLink)[0];
    },
    async addresses(interfaceIndex = 0) {
      const payload = encodeAddressRequest(interfaceIndex);
      const request = { call: 'RTM_GETADDR', type: messageType.GETADDR, payload };
      const answers = await orUndefined(socket.dump(request), constant.ENODEV);
      const all = decodeAll(answers ?? [], messageType.NEWADDR, decodeAddress);
      return interfaceIndex === 0 ? all : all.filter((address) => address.interfaceIndex === interfaceIndex);
    },
    addAddress: async (spec) => {
      const adding = change('RTM_NEWADDR', messageType.NEWADDR, CREATE | EXCLUSIVE, encodeAddress(spec));
      const added = await orUndefined(
        adding.then(() => true),
        constant.EEXIST,
      );
      return added ?? false;
    },
    removeAddress: (spec) => wasThere(change('RTM_DELADDR', messageType.DELADDR, 0, encodeAddress(spec))),
    async neighbours(filter = {}) {
      const payload = encodeNeighbourRequest(filter.family);
      const answers = await socket.dump({ call: 'RTM_GETNEIGH', type: messageType.GETNEIGH, payload });
      const all = decodeAll(answers, messageType.NEWNEIGH, decodeNeighbour);
      return all.filter(
        ({ interfaceIndex: index }) => filter.interfaceIndex === undefined || index === filter.interfaceIndex,
      );
    },
    async neighbour(interfaceIndex, address) {
      const payload = encodeNeighbour({
        ...{ interfaceIndex, address, mac: undefined },
        ...{ state: neighbourState.NONE, flags: 0 },
      });
      const request = { call: 'RTM_GETNEIGH', type: messageType.GETNEIGH, payload };
      const answers = await orUndefined(socket.request(request), constant.ENOENT);
      return decodeAll(answers ?? [], messageType.NEWNEIGH, decodeNeighbour)[0];
    },
    resolveNeighbour: (interfaceIndex, address) =>
      change(
        'RTM_NEWNEIGH (resolve)',
        messageType.NEWNEIGH,
        CREATE | REPLACE,
        encodeNeighbour({
          interfaceIndex,
          address,
          mac: undefined,
          state: neighbourState.NONE,
          flags: neighbourFlag.USE,
        }),
      ),
    probeNeighbour: (interfaceIndex, address, mac) =>
      change(
        'RTM_NEWNEIGH (probe)',
        messageType.NEWNEIGH,
        REPLACE,
        encodeNeighbour({ interfaceIndex, address, mac, state: neighbourState.PROBE, flags: 0 }),
      ),
    setPermanentNeighbour: (interfaceIndex, address, mac) =>
      change(
        'RTM_NEWNEIGH',
        messageType.NEWNEIGH,
        CREATE | REPLACE,
        encodeNeighbour({ interfaceIndex, address, mac, state: neighbourState.PERMANENT, flags: 0 }),
      ),
    removeNeighbour: (interfaceIndex, address) => {
      const payload = encodeNeighbour({
        interfaceIndex,
        address,
        mac: undefined,
        state: neighbourState.NONE,
        flags: 0,
      });
      return wasThere(change('RTM_DELNEIGH', messageType.DELNEIGH, 0, payload));
    },
    async routes(family, table) {
      const request = {
        call: 'RTM_GETROUTE',
        type: messageType.GETROUTE,
        payload: encodeRouteRequest(family, table),
      };
      const answers = await orUndefined(socket.dump(request), constant.ENOENT);
      const all = decodeAll(answers ?? [], messageType.NEWROUTE, decodeRoute);
      return table === undefined ? all : all.filter((route) => route.table === table);
    },
    async routeTo(address) {
      const payload = encodeRouteLookup(address);
      const answers = await socket.request({
        call: 'RTM_GETROUTE',
        type: messageType.GETROUTE,
        payload,
      });
      return decodeAll(answers, messageType.NEWROUTE, decodeRoute)[0];
    },
    addRoute: (route) => change('RTM_NEWROUTE', messageType.NEWROUTE, CREATE | EXCLUSIVE, encodeRoute(route)),
    replaceRoute: (route) =>
      change('RTM_NEWROUTE', messageType.NEWROUTE, CREATE | REPLACE, encodeRoute(route)),
    deleteRoute: (route) => wasThere(change('RTM_DELROUTE', messageType.DELROUTE, 0, encodeRoute(route))),
    rules,
    addRule,
    async ensureRule(rule) {
      // Asked first: IPv4 and old kernels take a second equal rule without EEXIST.
      if ((await rules(rule.family)).some((one) => sameRule(one, rule))) return false;
      const added = await orUndefined(
        addRule(rule).then(() => true),
        constant.EEXIST,
      );
      return added ?? false;
    },
    deleteRule: (rule) => wasThere(change('RTM_DELRULE', messageType.DELRULE, 0, encodeRule(rule))),
    close: () => socket.close(),
  };
}

function sameRule(rule: Rule, spec: RuleSpec): boolean {
  const mask = spec.mark === undefined ? undefined : (spec.markMask ?? 0xffffffff);
  return (
    rule.priority === spec.priority &&
    rule.table === spec.table &&
    rule.mark === spec.mark &&
    rule.markMask === mask &&
    rule.incoming === spec.incoming
  );
}

/** Deleting what is not there: the kernel says ENOENT, ESRCH, ENODEV or EADDRNOTAVAIL by the kind of thing. */
async function wasThere(deletion: Promise<void>): Promise<boolean> {
  const done = deletion.then(() => true);
  const { ENOENT, ESRCH, ENODEV, EADDRNOTAVAIL } = constant;
  return (await orUndefined(done, ENOENT, ESRCH, ENODEV, EADDRNOTAVAIL)) ?? false;
}

/** The value, or undefined when it failed with one of these errno values. */
async function orUndefined<T>(promise: Promise<T>, ...errnos: readonly number[]): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof SyscallError && errnos.includes(error.errno)) return undefined;
    throw error;
  }
}

function decodeAll<T>(
  messages: readonly NetlinkMessage[],
  type: number,
  decode: (payload: Uint8Array) => Result<T | undefined, string>,
): T[] {
  const values: T[] = [];
  for (const message of messages) {
    if (message.type !== type) continue;
    const value = decode(message.payload);
    if (!value.ok) throw new InvariantError(`netlink answer of type ${type}: ${value.error}`);
    if (value.value !== undefined) values.push(value.value);
  }
  return values;
}
