import type { Agent, IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import {
  announcesBody,
  type ForwardedFacts,
  fieldValues,
  isIdempotent,
  requestFields,
  responseFields,
} from '../core/headers.ts';
import { lingerMs } from '../core/limits.ts';
import type { Backend, Listener } from '../core/policy.ts';
import { type RefusalStatus, refusal } from '../core/refusal.ts';
import { type RequestTarget, readRequestTarget } from '../core/request-target.ts';
import { selectRoute } from '../core/route.ts';
import { chooseWeighted } from '../core/weighted-choice.ts';
import { type Outcome, performAttempt } from './attempt.ts';
import { backendCounters, countResponse, type ListenerCounters } from './counters.ts';
import { beginTunnel } from './tunnel.ts';

/** One request and the connection that it came on. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Undefined: the listener was taken away since the connection came. */
  readonly listener: Listener | undefined;
  readonly counters: ListenerCounters;
  readonly clientAddress: string;
  readonly agent: Agent;
  /** The client waits for 100 (Continue) before it sends its body. */
  readonly expectsContinue: boolean;
  /** It was told to go on. */
  continued: boolean;
  /** The client asks for a tunnel, over its bare connection. */
  readonly tunnel: { readonly socket: Socket; readonly head: Buffer } | undefined;
}

/** Answers one request: by a backend, or by the proxy itself. */
export async function runExchange(exchange: Exchange): Promise<void> {
  const { request, listener, counters } = exchange;
  counters.requests += 1;
  if (listener === undefined) return refuse(exchange, 503, 'this service is no longer here');
  // RFC 9112 section 6.1: an HTTP/1.0 message with Transfer-Encoding must be treated "as if the
  // framing is faulty", because whoever speaks 1.0 may not have understood it.
  if (request.httpVersion === '1.0' && fieldValues(request.rawHeaders, 'transfer-encoding').length > 0) {
    return refuse(exchange, 400, 'Transfer-Encoding in HTTP/1.0');
  }
  const target = readRequestTarget({
    method: request.method ?? '',
    target: request.url ?? '',
    hostFields: fieldValues(request.rawHeaders, 'host'),
    httpVersion: request.httpVersion,
  });
  if (!target.ok) return refuse(exchange, 400, target.error);
  const route = selectRoute(listener.routes, target.value.host, target.value.path);
  if (route === undefined) return refuse(exchange, 404, 'nothing is served under this host and path');

  const tried = new Set<Backend>();
  for (;;) {
    const backend = chooseWeighted(route.pool.backends, tried);
    if (backend === undefined) {
      return tried.size === 0
        ? refuse(exchange, 503, 'no backend is available')
        : refuse(exchange, 502, 'no backend could be reached');
    }
    tried.add(backend);
    const outcome = await tryBackend(exchange, listener, backend, target.value);
    if (outcome.kind === 'unreachable') continue;
    conclude(exchange, outcome);
    return;
  }
}

async function tryBackend(
  exchange: Exchange,
  listener: Listener,
  backend: Backend,
  target: RequestTarget,
): Promise<Exclude<Outcome, { kind: 'stale' }>> {
  const counted = backendCounters(exchange.counters, backend.key);
  const run = (agent: Agent | false) => {
    counted.requests += 1;
    return attempt(exchange, listener, backend, target, agent);
  };
  let outcome = await run(exchange.agent);
  const method = exchange.request.method ?? '';
  // RFC 9110 section 9.2.2: a proxy must not repeat a request that is not idempotent by itself;
  // and a body that was passed on cannot be had again.
  if (outcome.kind === 'stale' && isIdempotent(method) && !announcesBody(exchange.request.rawHeaders)) {
    outcome = await run(false);
  }
  if (outcome.kind === 'stale') {
    counted.errors += 1;
    return { kind: 'broken', reason: 'the backend closed a kept connection' };
  }
  if (outcome.kind === 'unreachable' || outcome.kind === 'broken' || outcome.kind === 'timeout')
    counted.errors += 1;
  return outcome;
}

function attempt(
  exchange: Exchange,
  listener: Listener,
  backend: Backend,
  target: RequestTarget,
  agent: Agent | false,
): Promise<Outcome> {
  const { request, response, tunnel } = exchange;
  const facts: ForwardedFacts = {
    clientAddress: exchange.clientAddress,
    scheme: 'http',
    port: listener.port,
  };
  try {
    return performAttempt({
      address: backend.address,
      port: backend.port,
      method: request.method ?? '',
      target: target.originForm,
      fields: upstreamFields(exchange, facts, target),
      agent: tunnel === undefined ? agent : false,
      connectMs: listener.connectMs,
      silenceMs: listener.responseMs,
      client: request,
      response,
      hasBody: announcesBody(request.rawHeaders),
      onHead: (answer) => passHead(exchange, answer),
      onInterim: (status, headers) => passInterim(exchange, status, headers),
      onTunnel:
        tunnel === undefined
          ? undefined
          : (answer, socket, head) => {
              countResponse(exchange.counters, 101);
              response.detachSocket(tunnel.socket);
              beginTunnel({
                client: tunnel.socket,
                clientHead: tunnel.head,
                answer,
                backend: socket,
                backendHead: head,
              });
            },
    });
  } catch (error) {
    return Promise.resolve({ kind: 'broken', reason: String(error) });
  }
}

/** The fields to send, with those of the upstream connection itself. */
function upstreamFields(exchange: Exchange, facts: ForwardedFacts, target: RequestTarget): string[] {
  const { request, tunnel } = exchange;
  const fields = requestFields(request.rawHeaders, facts, target.hostField);
  if (tunnel !== undefined) {
    fields.push('Connection', 'Upgrade', 'Upgrade', fieldValues(request.rawHeaders, 'upgrade')[0] ?? '');
  }
  if (fieldValues(request.rawHeaders, 'transfer-encoding').length > 0) {
    fields.push('Transfer-Encoding', 'chunked');
  } else if (!announcesBody(request.rawHeaders) && fieldValues(fields, 'content-length').length === 0) {
    // RFC 9110 section 8.6: a method that gives a body meaning is sent with Content-Length: 0.
    if (['POST', 'PUT', 'PATCH'].includes(request.method ?? '')) fields.push('Content-Length', '0');
  }
  return fields;
}

function passHead(exchange: Exchange, answer: IncomingMessage): void {
  const { request, response } = exchange;
  // The rest of the upload will not be passed on: after this answer the connection has no use.
  if (!request.complete) response.shouldKeepAlive = false;
  const status = answer.statusCode ?? 502;
  response.writeHead(status, answer.statusMessage ?? '', responseFields(answer.rawHeaders));
  response.flushHeaders();
  countResponse(exchange.counters, status);
}

/** RFC 9110 section 15.2: a proxy must pass 1xx answers on, but not to an HTTP/1.0 client. */
function passInterim(
  exchange: Exchange,
  status: number,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): void {
  const { request, response, tunnel } = exchange;
  if (request.httpVersion === '1.0' || response.headersSent || tunnel !== undefined) return;
  if (status === 100 && exchange.expectsContinue && !exchange.continued) {
    exchange.continued = true;
    response.writeContinue();
  }
  if (status === 102) response.writeProcessing();
  const { link } = headers;
  if (status === 103 && link !== undefined) response.writeEarlyHints({ link });
}

function conclude(exchange: Exchange, outcome: Exclude<Outcome, { kind: 'unreachable' | 'stale' }>): void {
  if (outcome.kind === 'client-gone') return;
  if (outcome.kind === 'delivered') {
    finish(exchange);
  } else if (exchange.response.headersSent) {
    // Begun and not to be finished: only a broken connection tells the client so.
    breakOff(exchange.response);
  } else {
    const [status, detail] = refusalOf[outcome.kind];
    refuse(exchange, status, detail);
  }
}

const refusalOf = {
  timeout: [504, 'the backend did not answer in time'],
  'client-timeout': [408, 'the request did not arrive in time'],
  broken: [502, 'the backend broke off'],
} as const;

/** Reset instead of a plain end, which an answer without a length would take for its end. */
function breakOff(response: ServerResponse): void {
  if (response.socket === null) response.destroy();
  else response.socket.resetAndDestroy();
}

function refuse(exchange: Exchange, status: RefusalStatus, detail: string): void {
  const { request, response } = exchange;
  if (response.destroyed) return;
  const { text, reason } = refusal(status, detail);
  // 400: what follows on this connection cannot be trusted. 503 of a listener that went: no more to come.
  if (!request.complete || status === 400 || exchange.listener === undefined)
    response.shouldKeepAlive = false;
  response.writeHead(status, reason, ['Content-Type', 'text/plain', 'Content-Length', String(text.length)]);
  countResponse(exchange.counters, status);
  if (request.method !== 'HEAD') response.write(text);
  finish(exchange);
}

/**
 * Ends the answer. While an upload that was answered early still comes in, it is read and thrown
 * away for a moment first: closing at once would reset the connection and could destroy the
 * answer before the client has read it.
 */
function finish(exchange: Exchange): void {
  const { request, response, tunnel } = exchange;
  if (tunnel !== undefined && response.socket === null) return;
  const nothingComes = request.complete || (exchange.expectsContinue && !exchange.continued);
  if (nothingComes || response.destroyed) return void response.end();
  const end = () => {
    clearTimeout(timer);
    response.end();
  };
  const timer = setTimeout(end, lingerMs);
  request.once('end', end);
  request.once('close', end);
  request.resume();
}
