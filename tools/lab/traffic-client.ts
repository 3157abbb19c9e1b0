/**
 * The client of the lab's traffic: runs in a client's namespace, does one task (JSON, the only argument) and
 * writes what happens as JSON lines to stdout. SIGTERM ends it in good order; every task ends by itself.
 */
import { createSocket } from 'node:dgram';
import { connect, isIPv6, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type {
  DatagramsOptions,
  DownloadOptions,
  HoldOptions,
  RequestEvent,
  RequestsOptions,
  TrafficEvent,
  TrafficTask,
} from './core/traffic-events.ts';

const stopped = new AbortController();
process.on('SIGTERM', () => stopped.abort());
process.on('SIGINT', () => stopped.abort());
// Nobody reads any more: there is nothing left to do.
process.stdout.on('error', () => process.exit(0));

const task = JSON.parse(process.argv[2] ?? '{}') as TrafficTask;
tell({ type: 'started', atMs: Date.now() });
await run(task);
// Sockets that wait for something would keep the process.
process.stdout.write('', () => process.exit(0));

function run(todo: TrafficTask): Promise<void> {
  switch (todo.mode) {
    case 'requests':
      return requests(todo);
    case 'hold':
      return hold(todo);
    case 'download':
      return download(todo);
    case 'datagrams':
      return datagrams(todo);
  }
}

function tell(event: TrafficEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

/** Waits, but not beyond the end of the task. */
async function pause(milliseconds: number): Promise<void> {
  if (milliseconds > 0) await sleep(milliseconds, undefined, { signal: stopped.signal }).catch(() => {});
}

function endAfter(milliseconds: number): void {
  setTimeout(() => stopped.abort(), milliseconds).unref();
}

async function requests(options: RequestsOptions): Promise<void> {
  endAfter(options.durationMs ?? 30_000);
  let left = options.count ?? Number.POSITIVE_INFINITY;
  let next = 0;
  const ports = options.sourcePorts ?? [];
  const worker = async () => {
    while (left > 0 && !stopped.signal.aborted) {
      left -= 1;
      const port = ports.length === 0 ? undefined : ports[next++ % ports.length];
      const event = await request(options, port);
      // What was under way when the task ended is no failure.
      if (event.failure === undefined || !stopped.signal.aborted) tell(event);
      await pause(options.pauseMs ?? 0);
    }
  };
  await Promise.all(Array.from({ length: options.concurrency ?? 8 }, worker));
}

function request(options: RequestsOptions, localPort: number | undefined): Promise<RequestEvent> {
  const atMs = Date.now();
  const begun = performance.now();
  return new Promise((resolve) => {
    const socket = open(options.url, localPort, options.sourceAddress);
    let text = '';
    let state = 'connecting';
    const finish = (result: Partial<RequestEvent>) => {
      clearTimeout(timer);
      stopped.signal.removeEventListener('abort', abort);
      const port = socket.localPort ?? localPort;
      socket.destroy();
      resolve({
        type: 'request',
        atMs,
        tookMs: round(performance.now() - begun),
        ...(port === undefined ? {} : { port }),
        ...result,
      });
    };
    const timer = setTimeout(() => finish({ failure: `timeout while ${state}` }), options.timeoutMs ?? 3000);
    const abort = () => finish({ failure: 'the task ended' });
    stopped.signal.addEventListener('abort', abort);
    socket.on('connect', () => {
      state = 'waiting for the answer';
      socket.write(`GET ${new URL(options.url).pathname} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n`);
    });
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', (error: NodeJS.ErrnoException) => finish({ failure: error.code ?? error.message }));
    socket.on('end', () => {
      const answer = parseAnswer(text);
      if (answer === undefined) finish({ failure: 'closed before the answer' });
      else if (answer.status !== 200) finish({ status: answer.status, failure: `status ${answer.status}` });
      else finish({ status: 200, ...identity(answer.body) });
    });
  });
}

async function hold(options: HoldOptions): Promise<void> {
  endAfter(options.durationMs ?? 60_000);
  const numbers = Array.from({ length: options.connections ?? 1 }, (_, index) => index);
  await Promise.all(numbers.map((number) => holdOne(options, number)));
}

async function holdOne(options: HoldOptions, connection: number): Promise<void> {
  const socket = open(options.url, options.sourcePorts?.[connection], options.sourceAddress);
  socket.setNoDelay(true);
  let port = 0;
  let text = '';
  let failure: string | undefined;
  let wake: (() => void) | undefined;
  const signalled = () => wake?.();
  const fail = (reason: string) => {
    failure ??= reason;
    signalled();
  };
  socket.on('connect', () => {
    port = socket.localPort ?? 0;
    signalled();
  });
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    signalled();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
  socket.on('close', () => fail('closed by the other side'));
  stopped.signal.addEventListener('abort', signalled);
  /** Waits until something is so, or the connection or the task has ended, or the time is over. */
  const until = async (isSo: () => boolean): Promise<boolean> => {
    const deadline = setTimeout(() => fail('no answer'), options.giveUpMs ?? 20_000);
    while (!isSo() && failure === undefined && !stopped.signal.aborted) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    clearTimeout(deadline);
    return failure === undefined && !stopped.signal.aborted;
  };
  const path = new URL(options.url).pathname;
  let alive = await until(() => port !== 0);
  while (alive) {
    const begun = performance.now();
    text = '';
    socket.write(`GET ${path} HTTP/1.1\r\nHost: lab\r\n\r\n`);
    alive = await until(() => parseAnswer(text) !== undefined);
    if (!alive) break;
    const { backend = '?', seenClient } = identity(parseAnswer(text)?.body ?? '');
    tell({
      type: 'ping',
      connection,
      port,
      backend,
      ...(seenClient === undefined ? {} : { seenClient }),
      atMs: Date.now(),
      tookMs: round(performance.now() - begun),
    });
    await pause(options.pauseMs ?? 100);
    alive = failure === undefined && !stopped.signal.aborted;
  }
  if (failure !== undefined && !stopped.signal.aborted) {
    tell({ type: 'broken', connection, port, atMs: Date.now(), failure });
  }
  socket.destroy();
}

function download(options: DownloadOptions): Promise<void> {
  endAfter(options.durationMs ?? 60_000);
  return new Promise((resolve) => {
    const socket = open(options.url, undefined, undefined);
    let head = '';
    let length: number | undefined;
    let backend: string | undefined;
    let bytes = 0;
    let largestGapMs = 0;
    let gapEndedAtMs = Date.now();
    let lastData = performance.now();
    let lastTold = 0;
    let ended = false;
    const progress = (end?: string) => {
      lastTold = performance.now();
      tell({
        type: 'progress',
        atMs: Date.now(),
        bytes,
        largestGapMs: round(largestGapMs),
        gapEndedAtMs,
        ...(backend === undefined ? {} : { backend }),
        ...(end === undefined ? {} : { end }),
      });
    };
    const noteGap = () => {
      const now = performance.now();
      if (now - lastData > largestGapMs) {
        largestGapMs = now - lastData;
        gapEndedAtMs = Date.now();
      }
      lastData = now;
    };
    const finish = (end: string) => {
      if (ended) return;
      ended = true;
      noteGap();
      progress(end);
      socket.destroy();
      resolve();
    };
    stopped.signal.addEventListener('abort', () => finish('the task ended'));
    socket.on('connect', () => {
      lastData = performance.now();
      const { pathname, search } = new URL(options.url);
      socket.write(`GET ${pathname}${search} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n`);
    });
    socket.on('data', (chunk) => {
      noteGap();
      if (length === undefined) {
        head += chunk.toString('latin1');
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? Number.NaN);
        backend = /^x-backend: *(\S+)/im.exec(head)?.[1];
        bytes = head.length - end - 4;
        progress();
      } else bytes += chunk.length;
      if (performance.now() - lastTold > 100) progress();
      if (bytes === length) finish('complete');
    });
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    socket.on('close', () => finish('closed by the other side'));
  });
}

async function datagrams(options: DatagramsOptions): Promise<void> {
  endAfter(options.durationMs ?? 30_000);
  await Promise.all(options.sourcePorts.map((port) => datagramFlow(options, port)));
}

async function datagramFlow(options: DatagramsOptions, port: number): Promise<void> {
  const socket = createSocket(isIPv6(options.address) ? 'udp6' : 'udp4');
  // An ICMP error (the server is not there) is seen as an answer that does not come.
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.bind(port, () => resolve()));
  await new Promise<void>((resolve) => socket.connect(options.port, options.address, () => resolve()));
  let left = options.count ?? Number.POSITIVE_INFINITY;
  for (let number = 0; left > 0 && !stopped.signal.aborted; number += 1) {
    left -= 1;
    const atMs = Date.now();
    const begun = performance.now();
    const wanted = `${port}-${number}`;
    const answer = await new Promise<string | undefined>((resolve) => {
      const listen = (message: Buffer) => {
        const text = message.toString('latin1');
        // A late answer to an earlier request is not this one's.
        if (text.endsWith(` ${wanted}`)) done(text);
      };
      const done = (text: string | undefined) => {
        clearTimeout(timer);
        socket.off('message', listen);
        resolve(text);
      };
      // An answer that has come while this process had no CPU is read before the time counts as over.
      const timer = setTimeout(() => setImmediate(() => done(undefined)), options.timeoutMs ?? 300);
      socket.on('message', listen);
      socket.send(wanted);
    });
    if (answer === undefined && stopped.signal.aborted) break;
    const [backend, seenClient] = answer?.split(' ') ?? [];
    tell({
      type: 'datagram',
      port,
      atMs,
      tookMs: round(performance.now() - begun),
      ...(backend === undefined ? {} : { backend }),
      ...(seenClient === undefined ? {} : { seenClient }),
    });
    await pause(options.pauseMs ?? 50);
  }
  socket.close();
}

function open(url: string, localPort: number | undefined, localAddress: string | undefined): Socket {
  const { hostname, port } = new URL(url);
  return connect({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || '80'),
    ...(localPort === undefined ? {} : { localPort }),
    ...(localAddress === undefined ? {} : { localAddress }),
  });
}

/** A whole HTTP answer with a Content-Length; undefined while parts are missing. */
function parseAnswer(text: string): { readonly status: number; readonly body: string } | undefined {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const status = Number(/^HTTP\/1\.\d (\d{3})/.exec(text)?.[1]);
  const length = Number(/^content-length: *(\d+)/im.exec(text.slice(0, end + 2))?.[1]);
  const body = text.slice(end + 4);
  return body.length < length ? undefined : { status, body };
}

/** A backend's answer is its name and the client's address as it saw it. */
function identity(body: string): { readonly backend?: string; readonly seenClient?: string } {
  const [backend, seenClient] = body.trim().split(' ');
  return {
    ...(backend === undefined ? {} : { backend }),
    ...(seenClient === undefined ? {} : { seenClient }),
  };
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10;
}
