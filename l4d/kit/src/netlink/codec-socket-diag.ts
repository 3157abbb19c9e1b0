/** Sockets of this network namespace as sock_diag(7) tells them: requests and answers of the internet families. */
import { type IpAddress, type IpFamily, ipAddressFromBytes } from '../ip-address.ts';
import { err, ok, type Result } from '../result.ts';
import { viewOf } from './codec.ts';
import { addressLength, familyNumber } from './codec-address.ts';

/** SOCK_DIAG_BY_FAMILY: type of the request and of its answers. */
export const SOCK_DIAG_BY_FAMILY = 20;

/** SKNLGRP_*: multicast groups that tell of every socket that ends. */
export const socketEndGroup = { tcp4: 1, udp4: 2, tcp6: 3, udp6: 4 } as const;

/** Transport protocols that have ports. */
export type PortProtocol = 'tcp' | 'udp';

/** A socket that waits for connections or datagrams from anybody. */
export interface ListeningSocket {
  /** All zero: any address. */
  readonly address: IpAddress;
  readonly port: number;
  readonly inode: number;
}

const protocolNumber: Readonly<Record<PortProtocol, number>> = { tcp: 6, udp: 17 };
/** States of <net/tcp_states.h>; a UDP socket that is not connected is in CLOSE. */
const state = { CLOSE: 7, LISTEN: 10 } as const;
/** struct inet_diag_msg. */
const messageBytes = 72;

/** Payload (struct inet_diag_req_v2) that asks for the listening sockets of a family. */
export function encodeListeningRequest(family: IpFamily, protocol: PortProtocol): Uint8Array {
  const payload = new Uint8Array(56);
  const view = new DataView(payload.buffer);
  view.setUint8(0, familyNumber(family));
  view.setUint8(1, protocolNumber[protocol]);
  view.setUint32(4, 1 << (protocol === 'tcp' ? state.LISTEN : state.CLOSE), true);
  return payload;
}

/** A socket of an answer or of an event (struct inet_diag_msg); undefined when it is connected to somebody. */
export function decodeListeningSocket(payload: Uint8Array): Result<ListeningSocket | undefined, string> {
  if (payload.length < messageBytes) return err(`a socket of ${payload.length} bytes`);
  const view = viewOf(payload);
  const length = addressLength(view.getUint8(0));
  if (length < 0) return err(`a socket of family ${view.getUint8(0)}`);
  if (view.getUint16(6) !== 0) return ok(undefined);
  return ok({
    address: ipAddressFromBytes(payload.slice(8, 8 + length)),
    port: view.getUint16(4),
    inode: view.getUint32(68, true),
  });
}
