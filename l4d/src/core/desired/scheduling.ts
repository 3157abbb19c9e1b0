import { integer, text } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import type { BackendSelection } from '../forwarding/backend-selection.ts';
import type { Backend } from './backend.ts';
import type { Vip } from './vip.ts';
import { isForwarded } from './vip-classes.ts';

/** How a new flow finds its backend. */
export const schedulers = ['maglev', 'wrr', 'least-connections', 'source', 'source-prefix'] as const;

/** Prefix lengths of source-prefix where none is declared: what one site usually has. */
export const defaultSourcePrefix = { 4: 24, 6: 56 } as const;

/** Where a QUIC server puts its id (draft-ietf-quic-load-balancers, the plain algorithm). */
export const quicSchema = z.strictObject({
  /** Config rotation bits; 7 means unroutable. */
  configId: integer('a config id', 0, 6).prefault(0),
  /** Bytes. */
  serverIdLength: integer('a length of server ids in bytes', 1, 15).prefault(4),
});

/** What the connection ids of a QUIC server begin with, behind their first byte. */
export const serverIdText = text(
  'a server id',
  /^([0-9a-fA-F]{2}){1,15}$/,
  '1 to 15 bytes in hexadecimal, such as 0a4d0015',
);

/** What the data plane should do for a VIP's scheduler. */
export function selectionOf(vip: Vip): BackendSelection {
  const { quic } = vip;
  return {
    by: vip.scheduler === 'wrr' ? 'turn' : vip.scheduler === 'least-connections' ? 'load' : 'hash',
    sourceBits: sourceBitsOf(vip),
    isStateless: isForwarded(vip) && !vip.stateful,
    quic: quic === undefined ? undefined : { ...quic },
  };
}

/** Bits of the client's address that decide; 0 where the scheduler does not go by the address alone. */
export function sourceBitsOf(vip: Vip): number {
  const { family } = vip.address;
  if (vip.scheduler === 'source') return family === 4 ? 32 : 128;
  return vip.scheduler === 'source-prefix' ? (vip.sourcePrefixLength ?? defaultSourcePrefix[family]) : 0;
}

/** Lower-case hexadecimal; undefined for a VIP without `quic`. */
export function serverIdOf(vip: Vip, backend: Backend): string | undefined {
  if (vip.quic === undefined) return undefined;
  if (backend.serverId !== undefined) return backend.serverId.toLowerCase();
  const length = vip.quic.serverIdLength;
  const id = new Uint8Array(length);
  const tail = backend.address.bytes.slice(-length);
  id.set(tail, length - tail.length);
  return [...id].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Why hosts of a fabric do not all give the same answer for a new flow of the VIP; empty when they do. */
export function differingAnswers(vip: Vip): readonly string[] {
  const reasons: string[] = [];
  if (vip.scheduler === 'wrr' || vip.scheduler === 'least-connections') {
    reasons.push(`scheduler ${vip.scheduler}`);
  }
  if (vip.slowStart !== undefined) reasons.push('slowStart');
  return reasons;
}
