import { ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { errorCode, routeRefreshSubcode } from './iana.ts';
import { badMessageLength, type NotificationMessage, notification } from './notification.ts';

/** ROUTE-REFRESH (RFC 2918 section 3; RFC 7313 gives the once reserved octet a meaning). */
export interface RouteRefreshMessage {
  readonly type: 'route-refresh';
  readonly afi: number;
  readonly safi: number;
  /** 0 request, 1 begin of refresh, 2 end of refresh. */
  readonly subtype: number;
  /** Outbound route filters (RFC 5291), opaque. */
  readonly filters: Uint8Array;
}

/** The body (after the header) of a ROUTE-REFRESH; `whole` is the message with its header, for error data. */
export function decodeRouteRefreshBody(
  body: Uint8Array,
  whole: Uint8Array,
): Result<RouteRefreshMessage, NotificationMessage> {
  const reader = new ByteReader(body);
  const afi = reader.u16();
  const subtype = reader.u8();
  const safi = reader.u8();
  if (afi === undefined || subtype === undefined || safi === undefined) {
    return err(badMessageLength(whole.length));
  }
  // RFC 7313 section 5: "If the length, excluding the fixed-size message header, of the received
  // ROUTE-REFRESH message with Message Subtype 1 and 2 is not 4, then ... 'Invalid Message Length'. The
  // Data field ... MUST contain the complete ROUTE-REFRESH message."
  if ((subtype === 1 || subtype === 2) && reader.remaining > 0) {
    return err(
      notification(errorCode.routeRefresh, routeRefreshSubcode.invalidMessageLength, Uint8Array.from(whole)),
    );
  }
  return ok({ type: 'route-refresh', afi, safi, subtype, filters: Uint8Array.from(body.subarray(4)) });
}

/** The body (after the header) of a ROUTE-REFRESH. */
export function encodeRouteRefreshBody(message: RouteRefreshMessage): Uint8Array {
  const writer = new ByteWriter(4 + message.filters.length);
  return writer.u16(message.afi).u8(message.subtype).u8(message.safi).raw(message.filters).finish();
}
