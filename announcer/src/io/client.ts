import { OperatorError } from '@l4d/kit/errors.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type {
  DesiredInput,
  HandoverAnswer,
  HandoverInput,
  PatchInput,
  ShutdownInput,
  WithdrawInput,
} from '../core/api.ts';
import type { ApiProblem } from '../core/api-problem.ts';
import type { AnnouncerStatus, AnnouncerSummary, OtherPath, PrefixesStatus } from '../core/api-status.ts';

/** Typed calls to an announcer. All reject with the socket's error when nobody listens. */
export interface AnnouncerClient {
  /** Rejects with AnnouncerRefusal when the state is not valid. */
  put(desired: DesiredInput): Promise<{ readonly revision: number }>;
  /** Rejects with AnnouncerRefusal also when the revision is another (status 409). */
  patch(patch: PatchInput): Promise<{ readonly revision: number }>;
  heartbeat(): Promise<void>;
  withdraw(prefixes: WithdrawInput['prefixes']): Promise<{ readonly revision: number }>;
  /** With all prefixes: for those who look, not for those who poll. */
  status(): Promise<AnnouncerStatus>;
  /** The same without prefixes. */
  summary(): Promise<AnnouncerSummary>;
  /** What the peers were told of each prefix, or of those that have changed since an earlier answer. */
  prefixes(since?: number): Promise<PrefixesStatus>;
  /** Paths of other speakers to what it announces, as far as peers show them. */
  otherPaths(): Promise<readonly OtherPath[]>;
  shutdown(how?: ShutdownInput): Promise<void>;
  /** Rejects with AnnouncerRefusal when the sessions were not handed over (status 409). */
  handOver(how?: HandoverInput): Promise<HandoverAnswer>;
}

/** The announcer refused a request; nothing was changed. */
export class AnnouncerRefusal extends OperatorError {
  readonly problem: ApiProblem;

  constructor(problem: ApiProblem) {
    super(`the announcer refused the request: ${problem.detail}`);
    this.name = 'AnnouncerRefusal';
    this.problem = problem;
  }
}

/** A client of the announcer at `socketPath`; each call waits at most `timeoutMs`. */
export function announcerClient(socketPath: string, timeoutMs = 10_000): AnnouncerClient {
  const call = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const answer = await requestJson(socketPath, method, path, body, timeoutMs);
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    if (answer.status === 400 || answer.status === 409) throw new AnnouncerRefusal(answer.body as ApiProblem);
    throw new Error(`the announcer answered ${answer.status} to ${method} ${path}`);
  };
  return {
    put: async (desired) => (await call('PUT', '/v1/desired', desired)) as { revision: number },
    patch: async (patch) => (await call('PATCH', '/v1/prefixes', patch)) as { revision: number },
    async heartbeat() {
      await call('POST', '/v1/heartbeat');
    },
    withdraw: async (prefixes) => (await call('POST', '/v1/withdraw', { prefixes })) as { revision: number },
    status: async () => (await call('GET', '/v1/status?prefixes=true')) as AnnouncerStatus,
    summary: async () => (await call('GET', '/v1/status')) as AnnouncerSummary,
    prefixes: async (since) =>
      (await call('GET', `/v1/prefixes${since === undefined ? '' : `?since=${since}`}`)) as PrefixesStatus,
    async otherPaths() {
      return ((await call('GET', '/v1/other-paths')) as { paths: OtherPath[] }).paths;
    },
    async shutdown(how) {
      await call('POST', '/v1/shutdown', how);
    },
    handOver: async (how) => (await call('POST', '/v1/handover', how ?? {})) as HandoverAnswer,
  };
}
