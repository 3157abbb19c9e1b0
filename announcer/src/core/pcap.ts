/**
 * A record as a capture file (pcapng, draft-ietf-opsawg-pcapng) that packet analysers read.
 *
 * Messages and their times are real. The headers around them are made up: Ethernet addresses, sequence numbers (they
 * leave no gap where the record has one, so that every message can be dissected), TTLs of TCP, and the handshake of a
 * connection whose beginning is in the record. What is no packet (states, errors) is a comment on the packet after it.
 */
import { ByteWriter } from '@l4d/kit/bytes.ts';
import { formatIpAddress, type IpAddress, parseIpAddress } from '@l4d/kit/ip-address.ts';
import type { RecordEntry, RecordedEnds } from './flight-recorder.ts';
import { ethernetFrame, tcpFlag, tcpSegment, udpDatagram } from './packet-headers.ts';

const blockType = { sectionHeader: 0x0a0d0d0a, interface: 1, enhancedPacket: 6 } as const;
const linkTypeEthernet = 1;
const option = { end: 0, comment: 1, application: 4, timestampResolution: 9 } as const;

/** Octets of TCP data in a packet: what fits in 1500 octets with any address family. */
const segmentBytes = 1440;

const bgpPort = 179;
/** Source port of BFD packets, made up: RFC 5881 section 4 wants it in 49152 to 65535. */
const bfdSourcePort = 49152;

interface Packet {
  readonly at: number;
  readonly frame: Uint8Array;
  readonly comments: string[];
}

interface Stream {
  readonly ends: Ends;
  /** Next sequence number of what we have sent, and of what we have received. */
  sent: number;
  received: number;
}

interface Ends {
  readonly local: IpAddress;
  readonly localPort: number;
  readonly remote: IpAddress;
  readonly remotePort: number;
}

/** The capture file of a peer's record; `at` of the entries is Unix time in milliseconds. */
export function toPcapng(peer: string, entries: readonly RecordEntry[]): Uint8Array {
  const streams = new Map<number, Stream>();
  const packets: Packet[] = [];
  let comments: string[] = [];
  const fallback = firstEnds(peer, entries);

  function add(at: number, frame: Uint8Array): void {
    packets.push({ at, frame, comments });
    comments = [];
  }

  function streamOf(connection: number): Stream {
    const known = streams.get(connection);
    if (known !== undefined) return known;
    const stream = { ends: fallback, sent: 1, received: 1 };
    streams.set(connection, stream);
    comments.push('the beginning of this connection is not in the record');
    return stream;
  }

  for (const entry of entries) {
    switch (entry.kind) {
      case 'connected': {
        const ends = parseEnds(entry) ?? fallback;
        const stream = { ends, sent: 0, received: 0 };
        streams.set(entry.connection, stream);
        for (const frame of handshake(stream, entry.incoming)) add(entry.at, frame);
        break;
      }
      case 'message': {
        const stream = streamOf(entry.connection);
        for (let from = 0; from < entry.bytes.length; from += segmentBytes) {
          const data = entry.bytes.subarray(from, from + segmentBytes);
          const isLast = from + segmentBytes >= entry.bytes.length;
          const flags = tcpFlag.ack | (isLast ? tcpFlag.push : 0);
          add(entry.at, segment(stream, entry.direction === 'sent', flags, data));
        }
        break;
      }
      case 'bfd-packet':
        add(entry.at, bfdFrame(fallback, entry.direction === 'sent', entry.port, entry.bytes));
        break;
      default:
        comments.push(commentOf(entry));
    }
  }
  packets.at(-1)?.comments.push(...comments);
  return writeFile(peer, packets, packets.length === 0 ? comments : []);
}

/** What a state, an error or an end is called in a comment, and wherever a line is made of it. */
export function commentOf(entry: RecordEntry): string {
  switch (entry.kind) {
    case 'state':
      return `BGP ${entry.from} -> ${entry.to}`;
    case 'bfd-state':
      return `BFD ${entry.from} -> ${entry.to}: ${entry.why}`;
    case 'error':
      return `error: ${entry.text}`;
    case 'closed':
      return `connection ${entry.connection} closed: ${entry.reason}`;
    case 'connected':
      return (
        `connection ${entry.connection} ${entry.incoming ? 'from' : 'to'} ` +
        `${entry.remote} port ${entry.remotePort}, our end ${entry.local} port ${entry.localPort}`
      );
    case 'message':
    case 'bfd-packet':
      return entry.kind;
  }
}

function parseEnds({ local, localPort, remote, remotePort }: RecordedEnds): Ends | undefined {
  const [own, other] = [local, remote].map((text) => parseIpAddress(text.split('%')[0] ?? ''));
  if (own === undefined || other === undefined) return undefined;
  if (!own.ok || !other.ok || own.value.family !== other.value.family) return undefined;
  return { local: own.value, localPort, remote: other.value, remotePort };
}

/** Ends of what has none in the record: those of the first connection, else the unspecified address. */
function firstEnds(peer: string, entries: readonly RecordEntry[]): Ends {
  for (const entry of entries) {
    const ends = entry.kind === 'connected' ? parseEnds(entry) : undefined;
    if (ends !== undefined) return ends;
  }
  const parsed = parseIpAddress(peer.split('%')[0] ?? '');
  const remote = parsed.ok ? parsed.value : { family: 4 as const, bytes: new Uint8Array(4) };
  const local: IpAddress = { family: remote.family, bytes: new Uint8Array(remote.bytes.length) };
  return { local, localPort: 49152, remote, remotePort: bgpPort };
}

function handshake(stream: Stream, incoming: boolean): Uint8Array[] {
  const none = new Uint8Array(0);
  const opener = !incoming;
  const syn = segment(stream, opener, tcpFlag.syn, none);
  const answer = segment(stream, !opener, tcpFlag.syn | tcpFlag.ack, none);
  return [syn, answer, segment(stream, opener, tcpFlag.ack, none)];
}

/** A frame of one TCP segment; the stream's counters move on. */
function segment(stream: Stream, sent: boolean, flags: number, data: Uint8Array): Uint8Array {
  const { ends } = stream;
  const sequence = sent ? stream.sent : stream.received;
  const acknowledged = (flags & tcpFlag.ack) === 0 ? 0 : sent ? stream.received : stream.sent;
  const length = data.length + ((flags & tcpFlag.syn) === 0 ? 0 : 1);
  if (sent) stream.sent += length;
  else stream.received += length;
  const [from, to] = sent ? [ends.local, ends.remote] : [ends.remote, ends.local];
  const [fromPort, toPort] = sent ? [ends.localPort, ends.remotePort] : [ends.remotePort, ends.localPort];
  const tcp = tcpSegment({ from, to, fromPort, toPort, sequence, acknowledged, flags, data });
  return ethernetFrame({ from, to, sent, ttl: 64, protocol: 'tcp', payload: tcp });
}

function bfdFrame(ends: Ends, sent: boolean, port: number, bytes: Uint8Array): Uint8Array {
  const [from, to] = sent ? [ends.local, ends.remote] : [ends.remote, ends.local];
  const udp = udpDatagram({ from, to, fromPort: bfdSourcePort, toPort: port, data: bytes });
  // RFC 5881 section 5: what is received with another TTL is not taken. Over several hops it may have been less.
  return ethernetFrame({ from, to, sent, ttl: 255, protocol: 'udp', payload: udp });
}

function writeFile(peer: string, packets: readonly Packet[], comments: readonly string[]): Uint8Array {
  const writer = new ByteWriter(64 * 1024);
  const parsed = parseIpAddress(peer);
  const name = parsed.ok ? formatIpAddress(parsed.value) : peer;
  const about = `flight record of ${name}: messages and times are real, the headers around them are made up`;
  const section = new ByteWriter(64).u32(0x1a2b3c4d).u16(1).u16(0).u32(0xffff_ffff).u32(0xffff_ffff);
  for (const comment of [about, ...comments]) writeOption(section, option.comment, text(comment));
  writeOption(section, option.application, text('l4d'));
  section.u16(option.end).u16(0);
  writeBlock(writer, blockType.sectionHeader, section.finish());
  const description = new ByteWriter(32).u16(linkTypeEthernet).u16(0).u32(0);
  // Microseconds.
  writeOption(description, option.timestampResolution, Uint8Array.of(6));
  description.u16(option.end).u16(0);
  writeBlock(writer, blockType.interface, description.finish());
  for (const packet of packets) writeBlock(writer, blockType.enhancedPacket, packetBody(packet));
  return writer.finish();
}

function packetBody({ at, frame, comments }: Packet): Uint8Array {
  const microseconds = Math.round(at * 1000);
  const body = new ByteWriter(frame.length + 64);
  body
    .u32(0)
    .u32(Math.floor(microseconds / 2 ** 32))
    .u32(microseconds % 2 ** 32);
  body.u32(frame.length).u32(frame.length).raw(frame);
  pad(body);
  for (const comment of comments) writeOption(body, option.comment, text(comment));
  if (comments.length > 0) body.u16(option.end).u16(0);
  return body.finish();
}

function writeBlock(writer: ByteWriter, type: number, body: Uint8Array): void {
  const length = body.length + 12;
  writer.u32(type).u32(length).raw(body).u32(length);
}

function writeOption(writer: ByteWriter, code: number, value: Uint8Array): void {
  writer.u16(code).u16(value.length).raw(value);
  pad(writer);
}

function pad(writer: ByteWriter): void {
  while (writer.length % 4 !== 0) writer.u8(0);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
