import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';

/** Whether hosts may have the addresses of a prefix: no multicast, loopback or unspecified ones. */
export function isUnicastPrefix({ address }: IpPrefix): boolean {
  const first = address.bytes[0] ?? 0;
  return address.family === 4 ? first !== 0 && first !== 127 && first < 224 : first !== 0xff;
}
