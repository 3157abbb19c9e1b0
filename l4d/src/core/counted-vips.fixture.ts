import { type DesiredState, parseDesiredState } from './desired-state.ts';

/** A state whose VIPs count how often anything of them is looked at. */
export interface CountedState {
  readonly state: DesiredState;
  /** Looks so far. */
  looks(): number;
}

/** `count` VIPs with two backends each, announced by BGP; no two share an address. */
export function countedState(count: number): CountedState {
  const parsed = parseDesiredState({
    version: 1,
    host: { bgp: { as: 65001, routerId: '10.0.0.11' } },
    peers: [{ address: '10.0.0.254', as: 65000 }],
    vips: Array.from({ length: count }, (_, number) => countedVip(number)),
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  let looks = 0;
  const counted: ProxyHandler<DesiredState['vips'][number]> = {
    get(target, key) {
      looks += 1;
      return Reflect.get(target, key);
    },
    has(target, key) {
      looks += 1;
      return Reflect.has(target, key);
    },
    ownKeys(target) {
      looks += 1;
      return Reflect.ownKeys(target);
    },
  };
  const vips = parsed.value.vips.map((vip) => new Proxy(vip, counted));
  return { state: { ...parsed.value, vips }, looks: () => looks };
}

/** A VIP of such a state by number, as the API takes it. */
export function countedVip(number: number) {
  return {
    name: `vip-${number}`,
    address: `203.${number >> 8}.${number & 255}.1`,
    port: 80,
    backends: [1, 2].map((backend) => ({ address: `10.${number >> 8}.${number & 255}.${backend}` })),
  };
}
