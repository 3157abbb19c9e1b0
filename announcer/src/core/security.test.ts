import { expect, it } from 'vitest';
import { explainMd5, parseMd5Counters } from './security.ts';

const netstat = (
  failure: number,
  notFound: number,
  unexpected: number,
) => `TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure TCPSackShifted
TcpExt: 7 ${notFound} ${unexpected} ${failure} 9
IpExt: InNoRoutes
IpExt: 1
`;

it('reads the TCP MD5 counters by name, zero where there are none', () => {
  expect(parseMd5Counters(netstat(3, 4, 5))).toEqual({ failure: 3, notFound: 4, unexpected: 5 });
  expect(parseMd5Counters('TcpExt: A\nTcpExt: 1\n')).toEqual({ failure: 0, notFound: 0, unexpected: 0 });
});

it('says what was dropped since', () => {
  const before = parseMd5Counters(netstat(1, 1, 1));
  expect(explainMd5(before, before, true)).toBeUndefined();
  expect(explainMd5(before, parseMd5Counters(netstat(3, 1, 1)), true)).toBe(
    'TCP MD5: this host dropped 2 segments with a wrong signature: the passwords differ',
  );
  expect(explainMd5(before, parseMd5Counters(netstat(1, 2, 1)), true)).toMatch(
    /1 segment without a signature/,
  );
  // What only another peer can have caused.
  expect(explainMd5(before, parseMd5Counters(netstat(3, 2, 1)), false)).toBeUndefined();
  expect(explainMd5(before, parseMd5Counters(netstat(1, 1, 2)), true)).toBeUndefined();
  expect(explainMd5(before, parseMd5Counters(netstat(1, 1, 2)), false)).toMatch(/here there is none/);
});
