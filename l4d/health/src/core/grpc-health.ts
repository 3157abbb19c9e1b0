/** Messages of grpc.health.v1 (the gRPC health checking protocol) in their framing: a flag byte, a length, protobuf. */
import { err, ok, type Result } from '@l4d/kit/result.ts';

/** Path of the method that is asked. */
export const grpcHealthPath = '/grpc.health.v1.Health/Check';

/** HealthCheckResponse.ServingStatus by number. */
const servingStatus = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;

/** What a server says of a service. */
export type ServingStatus = (typeof servingStatus)[number];

const frameHeaderBytes = 5;

/** A framed HealthCheckRequest; an empty name asks for the server as a whole. The name takes at most 127 bytes. */
export function encodeHealthRequest(service: string): Uint8Array {
  const name = new TextEncoder().encode(service);
  if (name.length > 127) throw new RangeError('the name of a service takes at most 127 bytes');
  // Field 1, length-delimited; the default value is left out.
  const message = name.length === 0 ? [] : [0x0a, name.length, ...name];
  return Uint8Array.of(0, 0, 0, 0, message.length, ...message);
}

/** The status of a framed HealthCheckResponse; an error tells what is wrong with the bytes. */
export function decodeHealthResponse(bytes: Uint8Array): Result<ServingStatus, string> {
  if (bytes.length < frameHeaderBytes) return err('the answer is shorter than a frame');
  if (bytes[0] !== 0) return err('the answer is compressed, which was not offered');
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
  if (length > bytes.length - frameHeaderBytes) return err('the answer is cut off');
  const message = bytes.subarray(frameHeaderBytes, frameHeaderBytes + length);
  // Field 1 as a varint is all that there is; an empty message says UNKNOWN.
  const status =
    message.length === 0 ? 0 : message[0] === 0x08 && message.length === 2 ? message[1] : undefined;
  const name = status === undefined ? undefined : servingStatus[status];
  return name === undefined ? err('the answer is no HealthCheckResponse') : ok(name);
}
