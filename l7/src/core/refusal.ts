/** An answer that the proxy gives by itself. */
export interface Refusal {
  readonly status: number;
  readonly reason: string;
  /** A sentence for whoever reads the answer. */
  readonly text: string;
}

/** Status codes that the proxy answers by itself. */
const reasons = {
  400: 'Bad Request',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  431: 'Request Header Fields Too Large',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
} as const;

export type RefusalStatus = keyof typeof reasons;

/** An answer of a status, with its small text body. */
export function refusal(status: RefusalStatus, detail: string): Refusal {
  return { status, reason: reasons[status], text: `${status} ${reasons[status]}: ${detail}\n` };
}

/** The whole answer as bytes of the wire, for a connection that is then closed. */
export function refusalMessage(answer: Refusal): string {
  return (
    `HTTP/1.1 ${answer.status} ${answer.reason}\r\nContent-Type: text/plain\r\n` +
    `Content-Length: ${answer.text.length}\r\nConnection: close\r\n\r\n${answer.text}`
  );
}

/** The answer to a request that the parser or its clock refused; `code` is Node's error code. */
export function parserRefusal(code: string): Refusal {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return refusal(408, 'the request did not arrive in time');
  if (code === 'HPE_HEADER_OVERFLOW') return refusal(431, 'the head of the request is too long');
  if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') return refusal(413, 'the chunk extensions are too long');
  return refusal(400, 'the request is not valid HTTP/1.1');
}
