import { Seconds } from '@l4d/kit/duration.ts';
import {
  choice,
  durationText,
  flag,
  integer,
  ipAddressText,
  macAddressText,
  portNumber,
  text,
} from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { forwardModes } from '../forwarding/forwarding-plan.ts';
import { serverIdText } from './scheduling.ts';

/** Name of a pool of backends of an l7 VIP. */
export const poolName = text(
  'a pool name',
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
  'letters, digits, ".", "_", "-"',
);

/** Pool of the backends that name none. */
export const defaultPool = 'default';

/** The largest number of a network of VXLAN (RFC 7348 section 5: 24 bits). */
const maxVni = 0xff_ff_ff;

/** Where a backend inside a tenant's network is. */
export const vxlanSchema = z.strictObject({
  /** Number of the network. */
  vni: integer('a VXLAN network number', 1, maxVni),
  /** Address of the machine that ends the tunnel. */
  remote: ipAddressText,
  /** Of the backend in that network; by default derived from its address. */
  mac: macAddressText.exactOptional(),
});

/** A server behind a VIP. */
export const backendSchema = z.strictObject({
  address: ipAddressText,
  /** Share of new flows against its neighbours; 0 drains. */
  weight: integer('a weight', 0, 1000).prefault(1),
  /** A draining backend keeps its flows and gets no new ones. */
  drain: flag().prefault(false),
  /** A drain ends after so long: flows that are left are re-picked. Without it they may take their time. */
  drainTimeout: durationText(Seconds(1), Seconds(604_800)).exactOptional(),
  /** In place of what the VIP says. */
  forward: choice('a way of forwarding', forwardModes).exactOptional(),
  /** With `forward: vxlan`, and then needed. */
  vxlan: vxlanSchema.exactOptional(),
  /** Of a VIP with `quic`: hexadecimal; by default the last bytes of the address. */
  serverId: serverIdText.exactOptional(),
  /** l7 and nat only; by default the VIP's port. */
  port: portNumber.exactOptional(),
  /** l7 only; `default` by default. */
  pool: poolName.exactOptional(),
});

/** A server behind a VIP. */
export type Backend = z.output<typeof backendSchema>;

/** Whether the operator asked that the backend gets no new flows. */
export function isDrained(backend: Backend): boolean {
  return backend.drain || backend.weight === 0;
}
