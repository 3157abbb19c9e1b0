import { formatIpAddress, type IpAddress, parseIpAddress } from '../ip-address.ts';
import { err, ok, type Result } from '../result.ts';

/** An address and a port. */
export interface Endpoint {
  readonly address: IpAddress;
  /** 1 to 65535. */
  readonly port: number;
}

/** Parses `ADDRESS:PORT`, IPv6 in brackets: `192.0.2.10:80`, `[2001:db8::10]:80`. */
export function parseEndpoint(text: string): Result<Endpoint, string> {
  const match = /^(?:\[([^[\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  if (match === null) {
    const brackets = text.split(':').length > 2 ? '; an IPv6 address needs brackets: [2001:db8::10]:80' : '';
    return err(`"${text}" is not ADDRESS:PORT${brackets}`);
  }
  const address = parseIpAddress(match[1] ?? match[2] ?? '');
  if (!address.ok) return err(address.error);
  if (match[1] !== undefined && address.value.family !== 6)
    return err(`"${text}" has brackets around an IPv4 address`);
  const port = Number(match[3]);
  if (port < 1 || port > 65_535) return err(`${port} is not a port (allowed: 1 to 65535)`);
  return ok({ address: address.value, port });
}

/** `ADDRESS:PORT`, IPv6 in brackets. */
export function formatEndpoint(endpoint: Endpoint): string {
  const address = formatIpAddress(endpoint.address);
  return endpoint.address.family === 6 ? `[${address}]:${endpoint.port}` : `${address}:${endpoint.port}`;
}
