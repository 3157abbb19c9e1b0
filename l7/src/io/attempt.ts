import {
  type Agent,
  type ClientRequest,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';

/** How one try at one backend ended. */
export type Outcome =
  /** The whole answer was passed on, or a tunnel begun. */
  | { readonly kind: 'delivered' }
  /** No connection came about: nothing was sent, any other backend may be asked. */
  | { readonly kind: 'unreachable'; readonly reason: string }
  /** A kept connection closed before a byte of the answer: the backend may never have seen the request. */
  | { readonly kind: 'stale' }
  /** The connection broke or spoke no HTTP after the request was, at least in part, sent. */
  | { readonly kind: 'broken'; readonly reason: string }
  /** Nothing came from the backend for too long. */
  | { readonly kind: 'timeout' }
  /** Nothing came from (or went to) the client for too long. */
  | { readonly kind: 'client-timeout' }
  /** The client left. */
  | { readonly kind: 'client-gone' };

/** One try: what to send where, and what to do with the answer. */
export interface Attempt {
  readonly address: string;
  readonly port: number;
  readonly method: string;
  readonly target: string;
  readonly fields: readonly string[];
  /** False: a new connection, used once. */
  readonly agent: Agent | false;
  readonly connectMs: number;
  /** Longest silence while the backend, or the client, is waited for. */
  readonly silenceMs: number;
  readonly client: IncomingMessage;
  readonly response: ServerResponse;
  readonly hasBody: boolean;
  /** Passes the backend's head on; throws when it cannot be passed on. */
  readonly onHead: (answer: IncomingMessage) => void;
  /** A 1xx answer other than 101. */
  readonly onInterim: (
    status: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
  ) => void;
  /** The backend switched protocols; undefined: it was not asked to. */
  readonly onTunnel: ((answer: IncomingMessage, socket: Socket, head: Buffer) => void) | undefined;
}

/** Performs one try. Never rejects; throws nothing but the errors of malformed fields, before anything is sent. */
export function performAttempt(attempt: Attempt): Promise<Outcome> {
  const { client, response } = attempt;
  const upstream = request({
    host: attempt.address,
    port: attempt.port,
    method: attempt.method,
    path: attempt.target,
    headers: attempt.fields,
    agent: attempt.agent,
    setHost: false,
    insecureHTTPParser: false,
  });
  return new Promise((resolve) => {
    let connected = false;
    let answer: IncomingMessage | undefined;
    let settled = false;

    const connectTimer = setTimeout(
      () => fail({ kind: 'unreachable', reason: 'connect timeout' }),
      attempt.connectMs,
    );
    const silenceTimer = setTimeout(onSilence, attempt.silenceMs);
    const onSignOfLife = () => silenceTimer.refresh();
    const onClientGone = () => {
      if (!response.writableFinished) fail({ kind: 'client-gone' });
    };

    function settle(outcome: Outcome): void {
      if (settled) return;
      settled = true;
      clearTimeout(connectTimer);
      clearTimeout(silenceTimer);
      client.off('data', onSignOfLife);
      client.unpipe(upstream);
      response.off('close', onClientGone);
      resolve(outcome);
    }
    function fail(outcome: Outcome): void {
      if (settled) return;
      settle(outcome);
      upstream.destroy();
    }
    function onSilence(): void {
      if (!connected) return void silenceTimer.refresh();
      const waitsForClient =
        answer === undefined
          ? attempt.hasBody && !client.complete && !upstream.writableNeedDrain
          : response.writableNeedDrain;
      fail({ kind: waitsForClient ? 'client-timeout' : 'timeout' });
    }
    function sendBody(): void {
      connected = true;
      clearTimeout(connectTimer);
      silenceTimer.refresh();
      if (!attempt.hasBody) return void upstream.end();
      // A client that waits for 100 Continue sends nothing before the backend has seen the head.
      upstream.flushHeaders();
      client.on('data', onSignOfLife);
      client.pipe(upstream);
    }

    response.once('close', onClientGone);
    upstream.once('socket', (socket) => {
      if (socket.connecting) socket.once('connect', sendBody);
      else sendBody();
    });
    upstream.on('information', (interim) => {
      onSignOfLife();
      attempt.onInterim(interim.statusCode, interim.headers);
    });
    upstream.once('upgrade', (switched, socket, head) => {
      if (settled || attempt.onTunnel === undefined) {
        socket.destroy();
        return fail({ kind: 'broken', reason: 'unasked switch of protocols' });
      }
      settle({ kind: 'delivered' });
      attempt.onTunnel(switched, socket, head);
    });
    upstream.once('response', (incoming) => {
      answer = incoming;
      if (settled) return;
      incoming.on('error', (error) => fail({ kind: 'broken', reason: error.message }));
      try {
        attempt.onHead(incoming);
      } catch (error) {
        return fail({ kind: 'broken', reason: String(error) });
      }
      passBody(incoming, response, { onSignOfLife, onEnd: () => settle({ kind: 'delivered' }) });
    });
    upstream.on('error', (error) =>
      fail(failureOf(error, { connected, answered: answer !== undefined, upstream })),
    );
    upstream.once('close', () => {
      // With an answer, its own end or error tells; it may still wait here for a slow client.
      if (answer === undefined) fail({ kind: 'broken', reason: 'closed without an answer' });
    });
    if (response.destroyed) fail({ kind: 'client-gone' });
  });
}

function passBody(
  from: IncomingMessage,
  to: ServerResponse,
  on: { readonly onSignOfLife: () => void; readonly onEnd: () => void },
): void {
  from.on('data', on.onSignOfLife);
  to.on('drain', on.onSignOfLife);
  from.pipe(to, { end: false });
  from.once('end', on.onEnd);
}

function failureOf(
  error: Error,
  at: { readonly connected: boolean; readonly answered: boolean; readonly upstream: ClientRequest },
): Outcome {
  if (!at.connected) return { kind: 'unreachable', reason: error.message };
  const code = 'code' in error ? error.code : undefined;
  const closed = code === 'ECONNRESET' || code === 'EPIPE';
  if (closed && !at.answered && at.upstream.reusedSocket) return { kind: 'stale' };
  return { kind: 'broken', reason: error.message };
}
