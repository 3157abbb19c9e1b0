/** An answer that the proxy gives by itself. */
export interface Refusal {
  readonly status: number;
  readonly reason: string;
  /** A sentence for whoever reads the answer. */
  readonly text: string;
}

/** Status codes that the proxy answers by itself. */
const reasons = {
  308: 'Permanent Redirect',
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  414: 'URI Too Long',
  431: 'Request Header Fields Too Large',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
  508: 'Loop Detected',
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
