import { type IncomingMessage, request } from 'node:http';

/** An answer of a JSON API. */
export interface JsonAnswer {
  readonly status: number;
  /** Parsed when the answer's type is JSON, else its text. */
  readonly body: unknown;
}

/**
 * One JSON request to an HTTP API on a unix socket. Rejects with the socket's error
 * (`ENOENT`, `ECONNREFUSED`: nobody listens) or after `timeoutMs` without an answer.
 */
export function requestJson(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
  timeoutMs = 10_000,
  headers: Readonly<Record<string, string>> = {},
): Promise<JsonAnswer> {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const sent = request(
      {
        socketPath,
        method,
        path,
        headers: {
          ...(payload === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) }),
          ...headers,
        },
        timeout: timeoutMs,
      },
      (answer) => {
        readAnswer(answer).then(resolve, reject);
      },
    );
    sent.on('timeout', () => sent.destroy(new Error(`no answer from ${socketPath} within ${timeoutMs} ms`)));
    sent.on('error', (error: NodeJS.ErrnoException) => {
      // A connection kept from the request before, which the server ended at that moment: nobody has read this request.
      const wasEnded = sent.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
      if (!wasEnded) reject(error);
      else requestJson(socketPath, method, path, body, timeoutMs, headers).then(resolve, reject);
    });
    sent.end(payload);
  });
}

async function readAnswer(answer: IncomingMessage): Promise<JsonAnswer> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  const isJson = /^application\/([a-z]+\+)?json\b/.test(answer.headers['content-type'] ?? '');
  return { status: answer.statusCode ?? 0, body: isJson && text !== '' ? JSON.parse(text) : text };
}
