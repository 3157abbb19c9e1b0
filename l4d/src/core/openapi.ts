import { peerSchema } from '@l4d/announcer/core/config/peer.ts';
import { z } from 'zod';
import { backendSchema } from './desired/backend.ts';
import { hostSchema } from './desired/host.ts';
import { vipSchema } from './desired/vip.ts';
import { desiredStateSchema, type JsonObject } from './desired-state.ts';

const schemas = {
  DesiredState: desiredStateSchema,
  Vip: vipSchema,
  Backend: backendSchema,
  Peer: peerSchema,
  Host: hostSchema,
} as const;

/** One operation of the API: what it is for, the schema of its body. */
interface Operation {
  readonly method: 'get' | 'put' | 'post' | 'patch' | 'delete';
  /** Path with parameters in braces. */
  readonly path: string;
  readonly summary: string;
  readonly body?: keyof typeof schemas;
  /** The body may leave out any field. */
  readonly partial?: true;
}

/** Every operation of the API. */
export const operations: readonly Operation[] = [
  { method: 'get', path: '/v1/desired', summary: 'The desired state in force and its revision' },
  {
    method: 'put',
    path: '/v1/desired',
    summary: 'Replace the desired state; If-Match: revision',
    body: 'DesiredState',
  },
  {
    method: 'post',
    path: '/v1/plan',
    summary: 'What a desired state would change; moves nothing',
    body: 'DesiredState',
  },
  { method: 'get', path: '/v1/status', summary: 'The running fabric' },
  {
    method: 'post',
    path: '/v1/stop',
    summary: 'Planned stop: every VIP is handed over and withdrawn, the announcer and the daemon end',
  },
  {
    method: 'get',
    path: '/v1/flows',
    summary:
      'Entries of the flow tables: ?vip a name, ?client an address or prefix, ?clientPort, ?backend an address, ' +
      '?copies=true those of single CPUs too, ?limit 1 to 10000 (100)',
  },
  { method: 'get', path: '/v1/vips', summary: 'All VIPs, as declared and as they run' },
  { method: 'post', path: '/v1/vips', summary: 'Add a VIP', body: 'Vip' },
  {
    method: 'delete',
    path: '/v1/vips',
    summary: 'Remove the VIPs of the query, name=A&name=B, in one change',
  },
  { method: 'get', path: '/v1/vips/{name}', summary: 'One VIP, as declared and as it runs' },
  {
    method: 'patch',
    path: '/v1/vips/{name}',
    summary: 'Change fields of a VIP; null is the default',
    body: 'Vip',
    partial: true,
  },
  { method: 'delete', path: '/v1/vips/{name}', summary: 'Remove a VIP' },
  { method: 'post', path: '/v1/vips/{name}/backends', summary: 'Add a backend', body: 'Backend' },
  {
    method: 'patch',
    path: '/v1/vips/{name}/backends/{address}',
    summary: 'Change fields of a backend: weight, drain',
    body: 'Backend',
    partial: true,
  },
  { method: 'delete', path: '/v1/vips/{name}/backends/{address}', summary: 'Remove a backend' },
  { method: 'get', path: '/v1/peers', summary: 'The BGP neighbours, as declared' },
  { method: 'post', path: '/v1/peers', summary: 'Add a BGP neighbour', body: 'Peer' },
  { method: 'delete', path: '/v1/peers/{address}', summary: 'Remove a BGP neighbour' },
  { method: 'get', path: '/v1/vrrp', summary: 'The virtual routers, as their process tells them' },
  { method: 'get', path: '/v1/bgp', summary: 'The sessions and prefixes, as the announcer tells them' },
  {
    method: 'get',
    path: '/v1/bgp/peers/{address}/advertised',
    summary: 'Routes told to a peer, by pages: ?offset and ?limit; nextOffset goes on',
  },
  {
    method: 'get',
    path: '/v1/bgp/peers/{address}/received',
    summary: 'Prefixes that a peer announces, by pages as above; none is imported',
  },
  {
    method: 'get',
    path: '/v1/bgp/peers/{address}/record',
    summary: 'The flight record of a peer: ?after a sequence number and ?limit',
  },
  {
    method: 'post',
    path: '/v1/bgp/peers/{address}/clear',
    summary: 'Reset the session; { "soft": true } sends all routes again instead',
  },
  { method: 'get', path: '/v1/host', summary: 'The host, as declared' },
  {
    method: 'patch',
    path: '/v1/host',
    summary: 'Change fields of the host; null is the default',
    body: 'Host',
    partial: true,
  },
  { method: 'put', path: '/v1/host/draining', summary: 'Drain or undrain the host: { "draining": true }' },
  { method: 'post', path: '/v1/undo', summary: 'Go back to the desired state before this one' },
  { method: 'post', path: '/v1/reconcile', summary: 'Compare and mend now' },
  { method: 'get', path: '/v1/openapi.json', summary: 'This document' },
  { method: 'get', path: '/metrics', summary: 'Prometheus metrics' },
];

/** The OpenAPI 3.1 description of the API, from the schema that validates it. */
export function openApiDocument(version: string): JsonObject {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of operations) {
    const path = paths[operation.path] ?? {};
    path[operation.method] = describe(operation);
    paths[operation.path] = path;
  }
  return {
    openapi: '3.1.0',
    info: { title: 'l4d', version },
    paths,
    components: {
      schemas: Object.fromEntries(
        Object.entries(schemas).map(([name, schema]) => [name, z.toJSONSchema(schema, { io: 'input' })]),
      ),
    },
  };
}

function describe(operation: Operation): JsonObject {
  const parameters = [...operation.path.matchAll(/\{(\w+)\}/g)].map((match) => ({
    name: match[1],
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const schema =
    operation.partial === true
      ? { type: 'object' }
      : { $ref: `#/components/schemas/${operation.body ?? ''}` };
  return {
    summary: operation.summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(operation.body === undefined
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema } } } }),
    responses: {
      '2XX': { description: 'done' },
      '4XX': { description: 'refused; nothing was changed', content: { 'application/problem+json': {} } },
    },
  };
}
