import { ByteReader } from '@l4d/kit/bytes.ts';
import { ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { asSegmentType, containsAsZero, decodeAsPath } from './as-path.ts';
import type { AttributeValue } from './attribute.ts';
import { attributeType, updateSubcode } from './iana.ts';
import { decodeMpReach, decodeMpUnreach } from './mp-reach.ts';

/** What RFC 7606 section 2 prescribes for an error, from the mildest to the strongest. */
export type ErrorHandling = 'attribute-discard' | 'treat-as-withdraw' | 'session-reset';

/** An attribute that is wrong, and what follows from it. */
export interface AttributeProblem {
  readonly handling: ErrorHandling;
  /** Subcode of the UPDATE Message Error, also for what does not end the session. */
  readonly subcode: number;
  readonly type: number;
  readonly message: string;
}

/** What a decoder has to know of the session. */
export interface UpdateContext {
  /** Whether both sides have announced four-octet AS numbers (RFC 6793). */
  readonly fourOctetAs: boolean;
  /** Whether the peer is in our own AS. */
  readonly internal: boolean;
  /** Whether prefixes come with path identifiers (RFC 7911); not negotiated by l4d. */
  readonly addPath?: boolean;
}

type Decoded = Result<AttributeValue, AttributeProblem>;

/** The value of one attribute whose bytes are all there. */
export function decodeAttributeValue(type: number, bytes: Uint8Array, context: UpdateContext): Decoded {
  const problem = (handling: ErrorHandling, subcode: number, message: string): Decoded =>
    err({ handling, subcode, type, message });
  const badLength = (handling: ErrorHandling): Decoded =>
    problem(handling, updateSubcode.attributeLengthError, `length ${bytes.length} is not allowed`);
  const reader = new ByteReader(bytes);

  switch (type) {
    case attributeType.origin: {
      // RFC 7606 section 7.1: malformed "if its length is not 1 or if it has an undefined value":
      // treat-as-withdraw.
      if (bytes.length !== 1) return badLength('treat-as-withdraw');
      const origin = bytes[0] ?? 0;
      if (origin > 2)
        return problem('treat-as-withdraw', updateSubcode.invalidOrigin, `origin ${origin} is undefined`);
      return ok({ kind: 'origin', origin });
    }
    case attributeType.asPath: {
      // RFC 7606 section 7.2: treat-as-withdraw.
      const segments = decodeAsPath(reader, context.fourOctetAs);
      if (segments === undefined)
        return problem('treat-as-withdraw', updateSubcode.malformedAsPath, 'malformed');
      // RFC 7607 section 2: an AS number of zero in AS_PATH: malformed.
      if (containsAsZero(segments))
        return problem('treat-as-withdraw', updateSubcode.malformedAsPath, 'contains AS 0');
      return ok({ kind: 'as-path', segments });
    }
    case attributeType.nextHop:
      // RFC 7606 section 7.3: "malformed if its length is not 4": treat-as-withdraw.
      if (bytes.length !== 4) return badLength('treat-as-withdraw');
      return ok({ kind: 'next-hop', address: ipAddressFromBytes(bytes) });
    case attributeType.med:
      // RFC 7606 section 7.4.
      if (bytes.length !== 4) return badLength('treat-as-withdraw');
      return ok({ kind: 'med', med: reader.u32() ?? 0 });
    case attributeType.localPref:
      // RFC 7606 section 7.5: from an external neighbour "attribute discard"; from an internal one
      // "malformed if its length is not equal to 4": treat-as-withdraw.
      if (!context.internal) return fromExternal(type);
      if (bytes.length !== 4) return badLength('treat-as-withdraw');
      return ok({ kind: 'local-pref', localPref: reader.u32() ?? 0 });
    case attributeType.atomicAggregate:
      // RFC 7606 section 7.6: length not 0: attribute discard.
      if (bytes.length !== 0) return badLength('attribute-discard');
      return ok({ kind: 'atomic-aggregate' });
    case attributeType.aggregator: {
      // RFC 7606 section 7.7: 6 octets, 8 with four-octet AS numbers; attribute discard.
      if (bytes.length !== (context.fourOctetAs ? 8 : 6)) return badLength('attribute-discard');
      const as = (context.fourOctetAs ? reader.u32() : reader.u16()) ?? 0;
      // RFC 7607 section 2: AGGREGATOR with AS 0: attribute discard.
      if (as === 0)
        return problem('attribute-discard', updateSubcode.optionalAttributeError, 'contains AS 0');
      return ok({ kind: 'aggregator', as, address: ipAddressFromBytes(bytes.subarray(-4)) });
    }
    case attributeType.communities:
      // RFC 7606 section 7.8: "not a non-zero multiple of 4": treat-as-withdraw.
      if (!isMultiple(bytes, 4)) return badLength('treat-as-withdraw');
      return ok({ kind: 'communities', communities: words(reader) });
    case attributeType.originatorId:
      // RFC 7606 section 7.9.
      if (!context.internal) return fromExternal(type);
      if (bytes.length !== 4) return badLength('treat-as-withdraw');
      return ok({ kind: 'originator-id', address: ipAddressFromBytes(bytes) });
    case attributeType.clusterList:
      // RFC 7606 section 7.10.
      if (!context.internal) return fromExternal(type);
      if (!isMultiple(bytes, 4)) return badLength('treat-as-withdraw');
      return ok({ kind: 'cluster-list', ids: words(reader) });
    case attributeType.mpReach: {
      // RFC 7606 sections 5.3 and 7.11: what cannot be parsed names no prefixes to withdraw: session reset.
      const value = decodeMpReach(reader, context.addPath);
      return value === undefined
        ? problem('session-reset', updateSubcode.optionalAttributeError, 'malformed')
        : ok(value);
    }
    case attributeType.mpUnreach: {
      // RFC 7606 sections 5.3 and 7.12.
      const value = decodeMpUnreach(reader, context.addPath);
      return value === undefined
        ? problem('session-reset', updateSubcode.optionalAttributeError, 'malformed')
        : ok(value);
    }
    case attributeType.extendedCommunities: {
      // RFC 7606 section 7.14.
      if (!isMultiple(bytes, 8)) return badLength('treat-as-withdraw');
      const communities: Uint8Array[] = [];
      for (let i = 0; i < bytes.length; i += 8) communities.push(Uint8Array.from(bytes.subarray(i, i + 8)));
      return ok({ kind: 'extended-communities', communities });
    }
    case attributeType.as4Path: {
      // RFC 6793 section 6: from a peer that has four-octet AS numbers itself it must be discarded; malformed
      // ones are discarded too.
      if (context.fourOctetAs) return fromFourOctet(type);
      const segments = decodeAsPath(reader, true);
      if (segments === undefined || segments.length === 0 || containsAsZero(segments)) {
        return problem('attribute-discard', updateSubcode.optionalAttributeError, 'malformed');
      }
      // RFC 6793 section 6: confederation segments in AS4_PATH are discarded, the rest is used.
      const kept = segments.filter(
        ({ type: kind }) => kind === asSegmentType.set || kind === asSegmentType.sequence,
      );
      // Of nothing else nothing is left, and an empty one is malformed.
      if (kept.length === 0) {
        const subcode = updateSubcode.optionalAttributeError;
        return problem('attribute-discard', subcode, 'has confederation segments alone');
      }
      return ok({ kind: 'as4-path', segments: kept });
    }
    case attributeType.as4Aggregator: {
      if (context.fourOctetAs) return fromFourOctet(type);
      // RFC 6793 section 6: malformed if its length is not 8: discarded. RFC 7607: AS 0 too.
      if (bytes.length !== 8) return badLength('attribute-discard');
      const as = reader.u32() ?? 0;
      if (as === 0)
        return problem('attribute-discard', updateSubcode.optionalAttributeError, 'contains AS 0');
      return ok({ kind: 'as4-aggregator', as, address: ipAddressFromBytes(bytes.subarray(4)) });
    }
    case attributeType.largeCommunities: {
      // RFC 8092 section 6: "not a non-zero multiple of 12": treat-as-withdraw.
      if (!isMultiple(bytes, 12)) return badLength('treat-as-withdraw');
      const communities: [number, number, number][] = [];
      while (reader.remaining > 0)
        communities.push([reader.u32() ?? 0, reader.u32() ?? 0, reader.u32() ?? 0]);
      return ok({ kind: 'large-communities', communities });
    }
    case attributeType.onlyToCustomer:
      // RFC 9234 section 5: malformed "if its length is not 4": treat-as-withdraw.
      if (bytes.length !== 4) return badLength('treat-as-withdraw');
      return ok({ kind: 'only-to-customer', as: reader.u32() ?? 0 });
    default:
      return ok({ kind: 'opaque', bytes: Uint8Array.from(bytes) });
  }
}

function fromExternal(type: number): Decoded {
  return err({
    handling: 'attribute-discard',
    subcode: updateSubcode.optionalAttributeError,
    type,
    message: 'received from an external peer',
  });
}

function fromFourOctet(type: number): Decoded {
  return err({
    handling: 'attribute-discard',
    subcode: updateSubcode.optionalAttributeError,
    type,
    message: 'received from a peer with four-octet AS numbers',
  });
}

function isMultiple(bytes: Uint8Array, size: number): boolean {
  return bytes.length > 0 && bytes.length % size === 0;
}

function words(reader: ByteReader): number[] {
  const values: number[] = [];
  while (reader.remaining > 0) values.push(reader.u32() ?? 0);
  return values;
}
