import { readFileSync } from 'node:fs';
import type { PortRange } from '@l4d/kit/port-range.ts';

/** What the kernel has before anybody changes it. */
const usual: PortRange = { first: 32_768, last: 60_999 };

/** The ports that the kernel gives to programs of this network namespace (net.ipv4.ip_local_port_range). */
export function readLocalPorts(): PortRange {
  try {
    const text = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8');
    const [first = Number.NaN, last = Number.NaN] = text.trim().split(/\s+/).map(Number);
    return Number.isInteger(first) && Number.isInteger(last) ? { first, last } : usual;
  } catch {
    return usual;
  }
}
