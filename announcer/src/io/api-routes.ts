import { hash } from 'node:crypto';
import type { z } from 'zod';
import { type Desired, desiredSchema, patchSchema, shutdownSchema, withdrawSchema } from '../core/api.ts';
import { type ApiProblem, describeProblems } from '../core/api-problem.ts';
import { maxPrefixes } from '../core/prefix-list.ts';
import { scanRequest } from '../core/prefix-scan.ts';
import type { PrefixTable } from '../core/prefix-table.ts';
import type { Announcer } from './announcer.ts';
import { tcpAoMissing } from './tcp-keys.ts';

/** An answer; a body of a status from 400 on is a problem document. */
export interface Answer {
  readonly status: number;
  readonly body?: unknown;
}

/** Answers one request. */
export type Route = (body: Uint8Array, query: string) => Answer | Promise<Answer>;

/** What changes what is announced, and what is asked for every second; by method and path. */
export function coreRoutes(announcer: Announcer, onShutdown: () => void): ReadonlyMap<string, Route> {
  return new Map<string, Route>([
    [
      'PUT /v1/desired',
      (bytes) => {
        // Kept in place of the text, which is long.
        const fingerprint = hash('sha256', bytes);
        if (announcer.isCurrent(fingerprint)) return ok({ revision: announcer.revision() });
        const request = parseWithList(desiredSchema, bytes, 'prefixes');
        if ('title' in request) return refused(request);
        const refusal = refuseUnsupported(request.value);
        if (refusal !== undefined) return refused(refusal);
        return ok({ revision: announcer.put(request.value, fingerprint) });
      },
    ],
    [
      'PATCH /v1/prefixes',
      (bytes) => {
        const request = parseWithList(patchSchema, bytes, 'add');
        if ('title' in request) return refused(request);
        const result = announcer.patch(request.value);
        if ('revision' in result) return ok(result);
        return refused({ title: 'The change does not fit', detail: result.conflict, problems: [] }, 409);
      },
    ],
    [
      'POST /v1/heartbeat',
      () => {
        announcer.heartbeat();
        return { status: 204 };
      },
    ],
    [
      'POST /v1/withdraw',
      (bytes) => {
        const request = parse(withdrawSchema, textOf(bytes));
        if ('title' in request) return refused(request);
        announcer.withdraw(request.value.prefixes);
        return ok({ revision: announcer.revision() });
      },
    ],
    [
      'GET /v1/status',
      (_, query) => {
        const status = announcer.status();
        if (new URLSearchParams(query).get('prefixes') !== 'true') return ok(status);
        return ok({ ...status, prefixes: announcer.prefixes().prefixes });
      },
    ],
    [
      'GET /v1/prefixes',
      (_, query) => {
        const since = new URLSearchParams(query).get('since');
        if (since !== null && !/^\d{1,15}$/.test(since)) {
          const message = 'must be "changes" of an earlier answer, or left out';
          const problems = [{ path: 'since', message }];
          return refused({ title: 'The request is refused', detail: `since: ${message}`, problems });
        }
        return ok(announcer.prefixes(since === null ? undefined : Number(since)));
      },
    ],
    [
      'POST /v1/shutdown',
      async (bytes) => {
        const request = parse(shutdownSchema, bytes.length === 0 ? '{}' : textOf(bytes));
        if ('title' in request) return refused(request);
        await announcer.shutdown(request.value);
        setImmediate(onShutdown);
        return ok({});
      },
    ],
  ]);
}

function ok(body: unknown): Answer {
  return { status: 200, body };
}

function refused(body: ApiProblem, status = 400): Answer {
  return { status, body };
}

/** What the schema allows and this kernel cannot do. */
function refuseUnsupported(desired: Desired): ApiProblem | undefined {
  const index = desired.peers.findIndex(({ tcpAo }) => tcpAo !== undefined);
  const message = index < 0 ? undefined : tcpAoMissing();
  if (message === undefined) return undefined;
  const path = `peers[${index}].tcpAo`;
  return { title: 'The request is refused', detail: `${path}: ${message}`, problems: [{ path, message }] };
}

/** As `parse`, for requests with a list of prefixes: a plain one is read from the bytes. */
function parseWithList<
  Name extends string,
  Schema extends z.ZodType<{ readonly [name in Name]: PrefixTable }>,
>(schema: Schema, bytes: Uint8Array, name: Name): { readonly value: z.output<Schema> } | ApiProblem {
  const scanned = scanRequest(bytes, name, maxPrefixes);
  if (scanned === undefined) return parse(schema, textOf(bytes));
  const request = parse(schema, scanned.rest);
  return 'title' in request ? request : { value: { ...request.value, [name]: scanned.prefixes } };
}

function parse<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
): { readonly value: z.output<Schema> } | ApiProblem {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { title: 'The request is not JSON', detail: message, problems: [{ path: '', message }] };
  }
  const result = schema.safeParse(json);
  return result.success ? { value: result.data } : describeProblems(result.error);
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
