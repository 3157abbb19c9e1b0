import { join } from 'node:path';
import { z } from 'zod';
import { ConfigError, OperatorError } from './errors.ts';
import {
  type ProxyDesiredInput,
  type ProxyStatus,
  proxyProblemSchema,
  proxyStatusSchema,
} from './proxy-api.ts';
import { type JsonAnswer, requestJson } from './unix-http.ts';

/** How long a renewal of all workers may take. */
const renewMs = 300_000;

/** A proxy as its API offers it. Every call rejects with the socket's error when nobody listens. */
export interface ProxyClient {
  /** Gives the whole desired state; returns its revision. Rejects with ConfigError when it is refused. */
  putDesired(desired: ProxyDesiredInput): Promise<number>;
  status(): Promise<ProxyStatus>;
  /** Replaces every worker; returns how many. Rejects with OperatorError when a new one does not come up. */
  renew(): Promise<number>;
  /** Ends the supervisor, whose workers serve on; returns its pid. */
  leave(): Promise<number>;
}

/** The proxy whose socket is in `runDir`. Makes no connection before the first call. */
export function createProxyClient(runDir: string, timeoutMs = 10_000): ProxyClient {
  const socketPath = join(runDir, 'proxy.sock');
  return {
    async putDesired(desired) {
      const answer = await requestJson(socketPath, 'PUT', '/v1/desired', desired, timeoutMs);
      return z.object({ revision: z.int() }).parse(accept(answer)).revision;
    },
    async status() {
      const answer = await requestJson(socketPath, 'GET', '/v1/status', undefined, timeoutMs);
      return proxyStatusSchema.parse(accept(answer));
    },
    async renew() {
      // Each takes a moment to come up; there may be many.
      const answer = await requestJson(socketPath, 'POST', '/v1/renew', undefined, renewMs);
      return z.object({ renewed: z.int() }).parse(accept(answer)).renewed;
    },
    async leave() {
      const answer = await requestJson(socketPath, 'POST', '/v1/leave', undefined, timeoutMs);
      return z.object({ pid: z.int() }).parse(accept(answer)).pid;
    },
  };
}

function accept(answer: JsonAnswer): unknown {
  if (answer.status === 200) return answer.body;
  const problem = proxyProblemSchema.safeParse(answer.body);
  if (answer.status === 400 && problem.success && problem.data.problems.length > 0) {
    throw new ConfigError(problem.data.problems, 'proxy');
  }
  throw new OperatorError(`the proxy answered ${answer.status}: ${JSON.stringify(answer.body)}`);
}
