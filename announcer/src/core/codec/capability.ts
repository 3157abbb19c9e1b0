import { type ByteReader, ByteWriter } from '@l4d/kit/bytes.ts';
import { capabilityCode } from './iana.ts';

/** A capability as it is on the wire (RFC 5492 section 4). Unknown ones are kept as they came. */
export interface Capability {
  readonly code: number;
  /** At most 255 octets. */
  readonly value: Uint8Array;
}

/** An address family and its subsequent identifier. */
export interface AddressFamily {
  readonly afi: number;
  readonly safi: number;
}

/** Capabilities to the end of the reader; undefined when one runs past it. */
export function decodeCapabilities(reader: ByteReader): Capability[] | undefined {
  const capabilities: Capability[] = [];
  while (reader.remaining > 0) {
    const code = reader.u8() ?? 0;
    const length = reader.u8();
    const value = length === undefined ? undefined : reader.take(length);
    if (value === undefined) return undefined;
    capabilities.push({ code, value: Uint8Array.from(value) });
  }
  return capabilities;
}

/** Appends capabilities one after another. */
export function encodeCapabilities(writer: ByteWriter, capabilities: readonly Capability[]): void {
  for (const { code, value } of capabilities) writer.u8(code).u8(value.length).raw(value);
}

/** Multiprotocol Extensions for one family (RFC 4760 section 8). */
export function multiprotocolCapability(family: AddressFamily): Capability {
  const value = new ByteWriter(4).u16(family.afi).u8(0).u8(family.safi).finish();
  return { code: capabilityCode.multiprotocol, value };
}

/** Route Refresh (RFC 2918 section 2). */
export const routeRefreshCapability: Capability = {
  code: capabilityCode.routeRefresh,
  value: new Uint8Array(0),
};

/** Four-octet AS number (RFC 6793 section 3): carries the true AS of the speaker. */
export function fourOctetAsCapability(asNumber: number): Capability {
  return { code: capabilityCode.fourOctetAs, value: new ByteWriter(4).u32(asNumber).finish() };
}

/** The families of all well-formed multiprotocol capabilities, in their order. */
export function multiprotocolFamilies(capabilities: readonly Capability[]): AddressFamily[] {
  return capabilities
    .filter(({ code, value }) => code === capabilityCode.multiprotocol && value.length === 4)
    .map(({ value }) => ({ afi: ((value[0] ?? 0) << 8) | (value[1] ?? 0), safi: value[3] ?? 0 }));
}

/** The AS number of the four-octet AS capability, when it is there and well-formed. */
export function fourOctetAsNumber(capabilities: readonly Capability[]): number | undefined {
  const found = capabilities.find(
    ({ code, value }) => code === capabilityCode.fourOctetAs && value.length === 4,
  );
  return found === undefined
    ? undefined
    : new DataView(found.value.buffer, found.value.byteOffset, 4).getUint32(0);
}
