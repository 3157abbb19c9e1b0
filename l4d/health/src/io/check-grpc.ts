import { connect, constants } from 'node:http2';
import type { Check } from '../core/check.ts';
import { decodeHealthResponse, encodeHealthRequest, grpcHealthPath } from '../core/grpc-health.ts';
import { authorityOf } from '../core/target.ts';
import { bad, type CancelCheck, type CheckRun, failed, good, type OutcomeHandler } from './check-run.ts';
import { checkOverStream } from './check-stream.ts';
import { startTls } from './check-tls.ts';

type GrpcCheck = Extract<Check, { type: 'grpc' }>;

/** Longest answer that is read. */
const maxAnswerBytes = 1024;

/** Good when the server says SERVING (grpc.health.v1.Health/Check), over HTTP/2 in the clear or over TLS. */
export function checkGrpc(run: CheckRun, check: GrpcCheck, onOutcome: OutcomeHandler): CancelCheck {
  return checkOverStream(run, check.tls ? 'TLS' : 'gRPC', onOutcome, (stream) => {
    const { socket, tell } = stream;
    const authority = check.host ?? authorityOf(run.target);
    const carrier = check.tls ? startTls(stream, check.host, 'gRPC', ['h2']) : socket;
    const session = connect(`${check.tls ? 'https' : 'http'}://${authority}`, {
      createConnection: () => carrier,
    });
    const end = () => {
      session.close();
      socket.destroySoon();
    };
    session.on('error', (error) => {
      tell(failed(stream.phase, error));
      socket.destroy();
    });
    const request = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: grpcHealthPath,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc+proto',
      [constants.HTTP2_HEADER_TE]: 'trailers',
      [constants.HTTP2_HEADER_USER_AGENT]: `l4d-check/${run.version}`,
    });
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    let refusal: string | undefined;
    const noteStatus = (headers: Readonly<Record<string, unknown>>) => {
      const status = headers['grpc-status'];
      if (status === undefined || status === '0') return;
      const text = String(headers['grpc-message'] ?? '').slice(0, 100);
      refusal = `gRPC: status ${String(status).slice(0, 10)}${text === '' ? '' : `, ${text}`}`;
    };
    request.on('response', (headers) => {
      const status = Number(headers[constants.HTTP2_HEADER_STATUS]);
      if (status !== 200) refusal = `gRPC: HTTP ${status}`;
      // An answer without a body carries its status here.
      noteStatus(headers);
    });
    request.on('trailers', noteStatus);
    request.on('data', (chunk: Uint8Array) => {
      bytes += chunk.length;
      if (bytes > maxAnswerBytes) socket.destroy();
      else chunks.push(chunk);
    });
    request.on('error', (error) => {
      tell(failed(stream.phase, error));
      socket.destroy();
    });
    request.on('end', () => {
      const answer = decodeHealthResponse(Buffer.concat(chunks));
      if (refusal !== undefined) tell(bad(refusal));
      else if (!answer.ok) tell(bad(`gRPC: ${answer.error}`));
      else if (answer.value !== 'SERVING') tell(bad(`gRPC: ${answer.value}`));
      else tell(good('gRPC: SERVING'));
      end();
    });
    request.end(encodeHealthRequest(check.service));
  });
}
