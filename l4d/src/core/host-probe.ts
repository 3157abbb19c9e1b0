/**
 * Whether a host of another subnet runs, and what its way carries: control messages that its XDP program answers
 * (bpf/include/proxy_arrival.h), so that no port is open and no daemon has to live for it. Small ones tell of life, ones as
 * large as the way's MTU of that (as RFC 8899 does for transports): no ICMP message is needed or believed.
 */

/** struct proxy_tunnel_header of bpf/include/l4d.h. */
const headerBytes = 8;
/** PROXY_TUNNEL_CONTROL and PROXY_TUNNEL_LENGTH. */
const controlLength = 0x21;
/** enum proxy_probe. */
const probeType = 0xe0;
const answerType = 0xe1;
/** Whom only the asked one knows, behind the header; then the message's number. */
export const probeSaltBytes = 8;
/** The smallest message. */
export const leastProbeBytes = headerBytes + probeSaltBytes + 4;

/** So many small ones in a row without an answer: the host is dead. */
const deadAfter = 5;
/** So many large ones, of a host that lives: they do not fit. */
const tooBigAfter = 3;
/** Every so many small ones, a large one goes with it. */
const largeEvery = 4;

/** What is known of one host. */
export interface ProbedHost {
  /** Of the last message. */
  readonly number: number;
  readonly unanswered: number;
  readonly largeUnanswered: number;
  readonly isLive: boolean;
  /** Messages as large as the way's MTU arrive, as far as is known. */
  readonly fits: boolean;
}

/** Of a host that was never asked: as good as dead. */
export const newProbedHost: ProbedHost = {
  number: 0,
  unanswered: 0,
  largeUnanswered: 0,
  isLive: false,
  fits: true,
};

/** The time has come to ask: the messages to send by their number, and what silence so far says. */
export function ask(host: ProbedHost): { readonly host: ProbedHost; readonly asksLarge: boolean } {
  const number = (host.number + 1) >>> 0;
  const asksLarge = number % largeEvery === 1;
  return {
    asksLarge,
    host: {
      number,
      // Counted in messages, not in time: a daemon that stood still has asked nothing meanwhile.
      unanswered: host.unanswered + 1,
      largeUnanswered: asksLarge ? host.largeUnanswered + 1 : host.largeUnanswered,
      isLive: host.isLive && host.unanswered < deadAfter,
      fits: host.fits && (!host.isLive || host.largeUnanswered < tooBigAfter),
    },
  };
}

/** An answer to one of the last messages has come. */
export function answered(host: ProbedHost, isLarge: boolean): ProbedHost {
  return {
    ...host,
    unanswered: 0,
    isLive: true,
    // Those that were lost while it was dead were not lost for their size.
    largeUnanswered: host.isLive ? host.largeUnanswered : 0,
    ...(isLarge ? { largeUnanswered: 0, fits: true } : {}),
  };
}

/** A message of so many bytes, at least `leastProbeBytes`; zeros fill it. */
export function encodeProbe(salt: Uint8Array, number: number, bytes: number): Uint8Array {
  const message = new Uint8Array(Math.max(bytes, leastProbeBytes));
  message[0] = controlLength;
  message[1] = probeType;
  message.set(salt.subarray(0, probeSaltBytes), headerBytes);
  new DataView(message.buffer).setUint32(headerBytes + probeSaltBytes, number);
  return message;
}

/** Whether these bytes answer one of the last messages that were sent with the salt. */
export function isAnswer(message: Uint8Array, salt: Uint8Array, { number }: ProbedHost): boolean {
  if (message.length < leastProbeBytes || message[0] !== controlLength || message[1] !== answerType)
    return false;
  for (let at = 0; at < probeSaltBytes; at++) if (message[headerBytes + at] !== salt[at]) return false;
  const view = new DataView(message.buffer, message.byteOffset);
  const age = (number - view.getUint32(headerBytes + probeSaltBytes)) >>> 0;
  return age < deadAfter;
}
