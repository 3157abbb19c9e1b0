import { ipPrefixText, list, notA, text, typed } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';

/** First and last port, both included. */
export type PortRange = readonly [first: number, last: number];

const portRangeError = notA('a port or a range of ports', 'such as 443, or "8000-8999"');

const portRange = z.codec(z.union([z.int(), z.string()], { error: portRangeError }), typed<PortRange>(), {
  decode(input, context): PortRange {
    const [, begin, end = begin] = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(String(input)) ?? [];
    const [first, last] = [Number(begin ?? 0), Number(end ?? 0)];
    if (first >= 1 && first <= last && last <= 65_535) return [first, last];
    context.issues.push({ code: 'custom', input, message: portRangeError({ input }) });
    return z.NEVER;
  },
  encode: ([first, last]) => (first === last ? first : `${first}-${last}`),
});

/** What clients of a forward proxy may reach; without hosts and prefixes every address that is no special one. */
export const destinationSchema = z.strictObject({
  hosts: list(
    text('a host name', /^(\*\.)?[A-Za-z0-9_.-]{1,253}$/, 'such as a.example or *.example'),
    'host names',
  ).exactOptional(),
  prefixes: list(ipPrefixText, 'prefixes').exactOptional(),
  ports: list(portRange, 'ports').exactOptional(),
});

/** What clients of a forward proxy may reach. */
export type Destination = z.output<typeof destinationSchema>;
