import { createReadStream } from 'node:fs';
import { describeProblems } from '@l4d/announcer/core/api-problem.ts';
import type { UpdateContext } from '@l4d/announcer/core/codec/attribute-decode.ts';
import { fromHex, toHex } from '@l4d/announcer/core/codec/attribute-json.ts';
import {
  type BgpMessage,
  encodeMessage,
  maxExtendedMessageBytes,
  maxMessageBytes,
} from '@l4d/announcer/core/codec/message.ts';
import { decodeStream, messageSchema } from '@l4d/announcer/core/codec/message-json.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import type { Command } from 'commander';
import { collectOctets } from './collect-octets.ts';
import type { Ctl } from './ctl.ts';

interface SessionOptions {
  readonly twoOctetAs?: true;
  readonly addPath?: true;
  readonly extendedMessages?: true;
  readonly internal?: true;
}

/** `l4ctl bgp decode` and `l4ctl bgp encode`: no daemon is asked. */
export function addBgpCodecCommands(bgp: Command, ctl: Ctl): void {
  bgp
    .command('decode <source>')
    .description('what a BGP message or a stream of them says, as JSON, and what RFC 7606 makes of it')
    .addHelpText(
      'after',
      `
SOURCE is hexadecimal digits, a file, or - for standard input; files hold octets as they were on the wire, or
hexadecimal digits with or without spaces. Without options it is read as of an external session with four-octet AS
numbers. Exit code 1: not all of it would be accepted.`,
    )
    .option('--two-octet-as', 'the session has no four-octet AS numbers (RFC 6793)')
    .option('--add-path', 'prefixes have path identifiers (RFC 7911)')
    .option('--extended-messages', 'messages of up to 65535 octets (RFC 8654)')
    .option('--internal', 'of a peer in our own AS')
    .action(async (source: string, options: SessionOptions) => {
      const bytes = await readOctets(source, ctl);
      if (isCapture(bytes))
        throw new OperatorError(`${source} is a capture file: ${captureHint}`, exitCode.usage);
      const context: UpdateContext = {
        fourOctetAs: options.twoOctetAs !== true,
        internal: options.internal === true,
        addPath: options.addPath === true,
      };
      const maxBytes = options.extendedMessages ? maxExtendedMessageBytes : maxMessageBytes;
      const decoded = decodeStream(bytes, context, maxBytes);
      ctl.env.stdout(`${JSON.stringify(decoded, null, 2)}\n`);
      const wrong = decoded.filter(({ outcome }) => outcome !== 'accept');
      const [first] = wrong;
      if (decoded.length === 0) throw new OperatorError('there is no message: no octets were given');
      if (first === undefined) return;
      throw new OperatorError(
        `${wrong.length} of ${decoded.length} messages would not be accepted; the first at octet ${first.offset}: ${first.outcome}`,
      );
    });
  bgp
    .command('encode [file]')
    .description('octets of messages from the JSON that decode prints; - or nothing is standard input')
    .option('--two-octet-as', 'the session has no four-octet AS numbers (RFC 6793)')
    .option('--extended-messages', 'messages of up to 65535 octets (RFC 8654)')
    .option('--raw', 'octets in place of hexadecimal digits')
    .action(async (file: string | undefined, options: SessionOptions & { readonly raw?: true }) => {
      const source = file === undefined || file === '-' ? await ctl.env.stdin() : await readText(file);
      const maxBytes = options.extendedMessages ? maxExtendedMessageBytes : maxMessageBytes;
      const messages = parseMessages(source);
      if (messages.length === 0)
        throw new OperatorError('there is no message: the list is empty', exitCode.config);
      for (const message of messages) {
        const bytes = encode(message, options.twoOctetAs !== true, maxBytes);
        if (options.raw) ctl.env.stdoutBytes(bytes);
        else ctl.env.stdout(`${toHex(bytes)}\n`);
      }
    });
}

function encode(message: BgpMessage, fourOctetAs: boolean, maxBytes: number): Uint8Array {
  try {
    return encodeMessage(message, fourOctetAs, maxBytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new OperatorError(`${error.message} is too long (allowed: ${maxBytes})`, exitCode.config);
  }
}

/** One message, a list of them, or what decode has printed, whose undecoded parts cannot come back. */
function parseMessages(text: string): BgpMessage[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new OperatorError(`the message is not JSON: ${String(error)}`, exitCode.config);
  }
  return (Array.isArray(json) ? json : [json]).map((one: unknown, index) => {
    const isEntry = typeof one === 'object' && one !== null && 'outcome' in one;
    const candidate = isEntry ? (one as { readonly message?: unknown }).message : one;
    const parsed = messageSchema.safeParse(candidate);
    if (parsed.success) return parsed.data;
    throw new OperatorError(`message ${index}: ${describeProblems(parsed.error).detail}`, exitCode.config);
  });
}

/** Octets read at most: a whole table of a million routes; what is made of them takes forty times as much. */
const mostOctets = 16 * 1024 * 1024;

async function readText(file: string): Promise<string> {
  return new TextDecoder().decode(await readBytes(file, 'a file, or -'));
}

async function readBytes(file: string, allowed: string): Promise<Uint8Array> {
  return collectOctets(createReadStream(file), mostOctets).catch((error: unknown) => {
    if (error instanceof RangeError) throw tooLong(file, error);
    const { code } = error as NodeJS.ErrnoException;
    throw new OperatorError(`"${file}" cannot be read: ${code} (allowed: ${allowed})`, exitCode.usage);
  });
}

function tooLong(source: string, { message }: RangeError): OperatorError {
  return new OperatorError(`${source} has ${message}: give it in parts`, exitCode.usage);
}

async function readOctets(source: string, ctl: Ctl): Promise<Uint8Array> {
  const digits = hexDigits(source);
  if (digits !== undefined) return digits;
  const bytes =
    source === '-'
      ? await ctl.env.stdinBytes(mostOctets).catch((error: unknown) => {
          throw error instanceof RangeError ? tooLong('standard input', error) : error;
        })
      : await readBytes(source, 'hexadecimal digits, a file, or -');
  // A message begins with a marker of ones; digits of it are "f".
  return bytes[0] === 0xff ? bytes : (hexDigits(new TextDecoder().decode(bytes)) ?? bytes);
}

/** First octets of pcapng, and of pcap in either order of octets, with microseconds and nanoseconds. */
const captureMagic = ['0a0d0d0a', 'a1b2c3d4', 'd4c3b2a1', 'a1b23c4d', '4d3cb2a1'];

const captureHint =
  'messages are in its TCP streams (tshark -r FILE -Y bgp -T fields -e tcp.payload | l4ctl bgp decode -)';

function isCapture(bytes: Uint8Array): boolean {
  return captureMagic.includes(toHex(bytes.subarray(0, 4)));
}

/** Octets of hexadecimal digits; 0x before them, and spaces, colons and line breaks between them are of no matter. */
function hexDigits(text: string): Uint8Array | undefined {
  const digits = text.replace(/^\s*0x/i, '').replace(/[\s:]/g, '');
  return digits.length > 0 && /^([0-9a-f]{2})+$/i.test(digits) ? fromHex(digits) : undefined;
}
