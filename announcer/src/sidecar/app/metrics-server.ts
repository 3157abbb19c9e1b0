import { createServer, type RequestListener, type Server } from 'node:http';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { announcerMetrics } from '../../core/metric-families.ts';
import { metricText } from '../../core/metric-text.ts';
import type { Announcer } from '../../io/announcer.ts';
import type { SidecarConfig } from '../core/config.ts';
import { sidecarMetrics } from '../core/metrics.ts';
import type { Sidecar } from './sidecar.ts';

/** /metrics, /services, and /healthz, which says whether the sidecar runs: not whether the services do. */
export interface MetricsServer {
  /** Serves there from now on, and nowhere else. Rejects with OperatorError; what was served before goes on then. */
  listen(endpoint: SidecarConfig['metrics']): Promise<void>;
}

/** A server that does not listen yet. */
export function createMetricsServer(sidecar: Sidecar, announcer: Announcer): MetricsServer {
  let running: { readonly server: Server; readonly name: string } | undefined;

  const answer: RequestListener = (request, response) => {
    const path = (request.url ?? '').split('?')[0];
    const say = (type: string, text: string) => response.writeHead(200, { 'content-type': type }).end(text);
    if (request.method !== 'GET') response.writeHead(405).end();
    else if (path === '/metrics') {
      const families = [...announcerMetrics(announcer.status()), ...sidecarMetrics(sidecar.status())];
      say('text/plain; version=0.0.4; charset=utf-8', metricText(families));
    } else if (path === '/healthz') say('text/plain', 'ok\n');
    else if (path === '/services') say('application/json', JSON.stringify(sidecar.status()));
    else response.writeHead(404).end();
  };

  return {
    async listen(endpoint) {
      const name =
        endpoint === undefined ? undefined : `${formatIpAddress(endpoint.address)} port ${endpoint.port}`;
      if (running?.name === name) return;
      const before = running;
      if (endpoint !== undefined && name !== undefined) {
        const server = createServer(answer);
        await new Promise<void>((resolve, reject) => {
          server.once('error', (error) =>
            reject(new OperatorError(`metrics: cannot listen on ${name}: ${error.message}`, exitCode.system)),
          );
          server.listen(endpoint.port, formatIpAddress(endpoint.address), resolve);
        });
        running = { server, name };
      } else running = undefined;
      before?.server.close();
      before?.server.closeAllConnections();
    },
  };
}
