/** What is asked of services, and where somebody has to listen for that. */
import { checkPort, type HealthTarget } from '@l4d/health/core/target.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import type { PortProtocol } from '@l4d/kit/netlink/codec-socket-diag.ts';
import type { Service } from './config.ts';

/** Where a process of this host has to listen. */
export interface WatchedListener {
  /** Told when nobody listens there any more. */
  readonly key: string;
  readonly protocol: PortProtocol;
  readonly address: IpAddress;
  readonly port: number;
}

/** Name of a check. */
export function checkKey({ name }: Service, index: number): string {
  return `${name}#${index}`;
}

/** The service that a check belongs to. */
export function serviceOfKey(key: string): string {
  return key.slice(0, key.lastIndexOf('#'));
}

/** The checks of a service. `isUp`: it has been well until now, so that what is asked newly of it is taken to be good. */
export function targetsOf(service: Service, isUp: boolean): HealthTarget[] {
  return service.checks.map((check, index) => ({
    key: checkKey(service, index),
    address: service.address,
    // Checks that ask at no port have none to name.
    port: service.port ?? ('port' in check ? check.port : undefined) ?? 1,
    check,
    ...(isUp ? { adoptedVerdict: 'up' as const } : {}),
  }));
}

/** Where somebody has to listen for a check to be good; nowhere for those that ask at no port. */
export function listenerOf(target: HealthTarget): WatchedListener[] {
  const { check, key, address } = target;
  if (check.type === 'exec' || check.type === 'none') return [];
  const protocol = check.type === 'listening' ? check.protocol : check.type === 'udp' ? 'udp' : 'tcp';
  return [{ key, protocol, address, port: checkPort(target) }];
}
