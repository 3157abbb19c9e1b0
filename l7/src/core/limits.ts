import { type MessageLimits, requestLimits, responseLimits } from './http1/limits.ts';

/** Limits and timeouts of one listener. What it does not declare is as users of such systems know it. */
export interface ListenerLimits {
  /** From the first byte (or the connection's begin) to the end of a request's head; then 408. */
  readonly headTimeoutMs: number;
  /**
   * From the connection's begin to the end of its TLS handshake; as long again for what a forward proxy's client
   * asks for, a PROXY header, and the first message of TLS that is passed through.
   */
  readonly handshakeTimeoutMs: number;
  /** The last of so many requests of one connection, or of up to a tenth fewer, is answered with `Connection: close`. */
  readonly maxRequestsPerConnection: number;
  /** A client's rate, where the proxy waits for it, is measured over so long. */
  readonly transferWindowMs: number;
  /** What a client must send of its body, or take of its answer, in such a window: by default 100 bytes/s. */
  readonly minTransferBytes: number;
  /** A tunnel of mode `http` (WebSocket) without a byte in either direction is closed. */
  readonly tunnelIdleMs: number;
  /**
   * An idle upstream connection is closed, before common backends close theirs (Node and Apache
   * after 5 s): a request that meets a closing connection cannot always be sent again.
   */
  readonly upstreamIdleMs: number;
  /** Parts of a request. */
  readonly request: MessageLimits;
  /** Parts of a backend's answer. */
  readonly response: MessageLimits;
}

/** What holds for what a listener does not declare. */
export const defaultListenerLimits: ListenerLimits = {
  headTimeoutMs: 60_000,
  handshakeTimeoutMs: 10_000,
  maxRequestsPerConnection: 100,
  transferWindowMs: 60_000,
  minTransferBytes: 6000,
  tunnelIdleMs: 60_000,
  upstreamIdleMs: 4000,
  request: requestLimits,
  response: responseLimits,
};

/**
 * After how many requests one connection ends: the most, or up to a tenth fewer (`share`: 0 up to 1, by chance), so that
 * clients which came together do not all come again together.
 */
export function requestsOfConnection(most: number, share: number): number {
  return most - Math.floor((most / 10) * share);
}

/** Limits of the process, which no listener has a say in. */
export interface ProxyLimits {
  /** Idle upstream connections kept per backend. */
  readonly maxIdleUpstream: number;
  /** 1xx answers that a backend may give to one request. */
  readonly maxInterimAnswers: number;
  /** How long an upload is read on, and thrown away, after it was answered early. */
  readonly lingerMs: number;
  /** How long existing connections may go on when their process is to end, unless desired state says otherwise. */
  readonly drainMs: number;
  /**
   * Behind that: those that nothing is lost by have ended, and had so long to say that they know; what is left is
   * reset. Less than what a supervisor waits for above a drain.
   */
  readonly drainEndMs: number;
  /** How often files of certificates and keys are looked at; a change is taken when it has rested for one look. */
  readonly tlsFilePollMs: number;
  /** Then, a kept connection that has been without a request for so long is closed. */
  readonly drainIdleMs: number;
  /** Then, a UDP session without a datagram for so long ends too: its client's next one finds another worker. */
  readonly drainIdleSessionMs: number;
  /** What waits to be read of a worker's UDP socket, as the kernel counts it. */
  readonly datagramQueueBytes: number;
  /** Connections of a listening socket that wait to be accepted. */
  readonly acceptBacklog: number;
  /**
   * How long the loop waits for an event before Node's loop has a turn, while there is work. Not less than a tick of the kernel
   * (4 ms at 250 Hz): for what is due before it the processor's timer is set twice, which on a virtual machine costs as much as
   * a third of all the rest of falling asleep and waking up.
   */
  readonly loopWaitMs: number;
}

/** What holds unless a test says otherwise. */
export const defaultLimits: ProxyLimits = {
  maxIdleUpstream: 128,
  maxInterimAnswers: 16,
  lingerMs: 2000,
  drainMs: 30_000,
  drainEndMs: 500,
  drainIdleMs: 1000,
  drainIdleSessionMs: 10_000,
  datagramQueueBytes: 4 * 1024 * 1024,
  tlsFilePollMs: 1000,
  acceptBacklog: 4096,
  loopWaitMs: 5,
};
