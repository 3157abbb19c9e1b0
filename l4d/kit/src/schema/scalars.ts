import { z } from 'zod';
import { type Duration, formatDuration, parseDuration } from '../duration.ts';
import { formatIpAddress, type IpAddress, type IpFamily, parseIpAddress } from '../ip-address.ts';
import { formatIpPrefix, type IpPrefix, parseIpPrefix } from '../ip-prefix.ts';
import { formatMacAddress, type MacAddress, parseMacAddress } from '../mac-address.ts';
import { formatPortRange, type PortRange, parsePortRange } from '../port-range.ts';
import { err, ok, type Result } from '../result.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from './endpoint.ts';
import { showValue } from './problem.ts';

/** What zod hands to an error function; only the offending value matters here. */
interface RawIssue {
  readonly input?: unknown;
}

/** The message for a value of the wrong kind or range: `70000 is not a port (allowed: 1 to 65535)`. */
export function notA(noun: string, allowed: string): (issue: RawIssue) => string {
  return ({ input }) =>
    input === undefined
      ? `is missing (needed: ${noun}: ${allowed})`
      : `${showValue(input)} is not ${noun} (allowed: ${allowed})`;
}

/** An integer from `min` to `max`, both allowed. */
export function integer(noun: string, min: number, max: number) {
  const error = notA(noun, `${min} to ${max}`);
  return z.int({ error }).min(min, { error }).max(max, { error });
}

/** One of some words. */
export function choice<const Words extends readonly [string, ...string[]]>(noun: string, words: Words) {
  return z.enum(words, { error: notA(noun, words.join(', ')) });
}

/** True or false. */
export function flag() {
  return z.boolean({ error: notA('a flag', 'true, false') });
}

/** A text that matches a pattern. */
export function text(noun: string, pattern: RegExp, allowed: string) {
  const error = notA(noun, allowed);
  return z.string({ error }).regex(pattern, { error });
}

/** A list; `what` names its elements. */
export function list<Element extends z.ZodType>(element: Element, what: string) {
  const error = ({ input }: RawIssue) =>
    input === undefined
      ? `is missing (needed: a list of ${what})`
      : `${showValue(input)} is not a list (allowed: a list of ${what})`;
  return z.array(element, { error });
}

/** A list of at most so many elements. */
export function listUpTo<Element extends z.ZodType>(most: number, element: Element, what: string) {
  return list(element, what).max(most, {
    error: ({ input }) =>
      `has ${Array.isArray(input) ? input.length : 'too many'} ${what} (allowed: at most ${most})`,
  });
}

/** The typed side of a codec. It refuses undefined, so that encoding leaves an absent field absent. */
export function typed<Value>() {
  return z.custom<Value>((value) => value !== undefined);
}

/** A text that stands for a typed value. `refuse` tells what is wrong with a value that parses. */
export function textCodec<Value>(
  noun: string,
  allowed: string,
  example: string,
  parse: (text: string) => Result<Value, string>,
  format: (value: Value) => string,
  refuse: (value: Value) => string | undefined = () => undefined,
) {
  const complain = notA(noun, allowed);
  return z.codec(
    z.string({ error: complain }).meta({ description: `${noun}: ${allowed}`, examples: [example] }),
    typed<Value>(),
    {
      decode(input, context) {
        const parsed = parse(input);
        const reason = parsed.ok ? refuse(parsed.value) : undefined;
        if (parsed.ok && reason === undefined) return parsed.value;
        const hint = parsed.ok ? undefined : hintOf(parsed.error, input);
        context.issues.push({
          code: 'custom',
          input,
          message: reason ?? complain({ input }),
          params: { hint },
        });
        return z.NEVER;
      },
      // Within a list that has bounds, encoding first runs without checks: an absent field comes by here then.
      encode: (value) => (value === undefined ? '' : format(value)),
    },
  );
}

/** What a parser tells beyond "X is not a …": host bits set, missing brackets. */
function hintOf(parserMessage: string, input: string): string | undefined {
  if (!parserMessage.startsWith(`${showValue(input)} is not`)) return parserMessage;
  return parserMessage.split('; ')[1];
}

function isMapped(address: IpAddress): boolean {
  return formatIpAddress(address).startsWith('::ffff:') && formatIpAddress(address).includes('.');
}

function addressCodec(noun: string, allowed: string, example: string, family?: IpFamily) {
  return textCodec(noun, allowed, example, parseIpAddress, formatIpAddress, (address) => {
    if (family !== undefined && address.family !== family) {
      return `"${formatIpAddress(address)}" is not ${noun} (allowed: ${allowed})`;
    }
    // The packet path keys IPv4 by its mapped form: both spellings would be one VIP.
    if (isMapped(address))
      return `"${formatIpAddress(address)}" is an IPv4-mapped address (allowed: its IPv4 form)`;
    return undefined;
  });
}

/** An IPv4 or IPv6 address, not IPv4-mapped. */
export const ipAddressText = addressCodec(
  'an IP address',
  'IPv4 such as 192.0.2.10 or IPv6 such as 2001:db8::10',
  '192.0.2.10',
);

/** An IPv4 address. */
export const ipv4AddressText = addressCodec('an IPv4 address', 'such as 192.0.2.10', '192.0.2.10', 4);

/** An IPv6 address, not IPv4-mapped. */
export const ipv6AddressText = addressCodec('an IPv6 address', 'such as 2001:db8::10', '2001:db8::10', 6);

/** An Ethernet address. */
export const macAddressText = textCodec<MacAddress>(
  'a MAC address',
  'such as 02:42:0a:00:00:15',
  '02:42:0a:00:00:15',
  (input) => {
    const mac = parseMacAddress(input);
    return mac === undefined ? err(`${showValue(input)} is not a MAC address`) : ok(mac);
  },
  formatMacAddress,
);

/** An IPv4 or IPv6 prefix; a bare address is its /32 or /128. */
export const ipPrefixText = textCodec<IpPrefix>(
  'a prefix',
  'ADDRESS/LENGTH such as 192.0.2.0/24',
  '192.0.2.0/24',
  parseIpPrefix,
  formatIpPrefix,
);

/** FIRST-LAST. */
export const portRangeText = textCodec<PortRange>(
  'a range of ports',
  'FIRST-LAST such as 10240-32767',
  '10240-32767',
  parsePortRange,
  formatPortRange,
);

/** ADDRESS:PORT, IPv6 in brackets. */
export const endpointText = textCodec<Endpoint>(
  'an endpoint',
  'ADDRESS:PORT such as 127.0.0.1:9400 or [::1]:9400',
  '127.0.0.1:9400',
  parseEndpoint,
  formatEndpoint,
);

/** A span of time of whole milliseconds between two bounds, both allowed. */
export function durationText(min: Duration, max: Duration) {
  const allowed = `${formatDuration(min)} to ${formatDuration(max)}, such as 500ms, 2s, 5m`;
  const complain = notA('a duration', allowed);
  return textCodec<Duration>('a duration', allowed, '2s', parseDuration, formatDuration, (duration) =>
    Number.isInteger(duration) && duration >= min && duration <= max
      ? undefined
      : complain({ input: formatDuration(duration) }),
  );
}

/** A port number. */
export const portNumber = integer('a port', 1, 65_535);

/** A share of 1% to 100%, as a number of percent. */
export const percentText = textCodec<number>(
  'a share',
  '1% to 100%',
  '50%',
  (input) => {
    const percent = Number(/^(\d{1,3})%$/.exec(input)?.[1] ?? 0);
    return percent >= 1 && percent <= 100
      ? { ok: true, value: percent }
      : { ok: false, error: `${showValue(input)} is not a share` };
  },
  (percent) => `${percent}%`,
);
