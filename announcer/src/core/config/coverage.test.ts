import { expect, test } from 'vitest';
import { peerShape } from '../api.ts';
import { bfdSchema } from '../bfd/bfd-option.ts';
import { peerPolicySchema, prefixAttributesShape } from '../route-policy.ts';
import { peerSchema } from './peer.ts';
import { bfdSchema as declaredBfd } from './peer-bfd.ts';
import { announceSchema, policySchema } from './route-attributes.ts';

/*
 * Whatever the announcer can do can be declared: each field of its API has one in the schema of operators. A new one
 * that is forgotten there fails here.
 */

/** Names of operators; what is left out is the same without its unit. */
const renamed: Readonly<Record<string, string>> = { nextHop4: 'nextHops', nextHop6: 'nextHops' };

const declaredName = (name: string) => renamed[name] ?? name.replace(/Ms$/, '');

const missing = (from: object, declared: object) =>
  Object.keys(from)
    .map(declaredName)
    .filter((name) => !(name in declared));

test('every option of a peer can be declared', () => {
  expect(missing(peerShape, peerSchema.shape)).toEqual([]);
});

test('every option of BFD can be declared', () => {
  expect(missing(bfdSchema.shape, declaredBfd.shape)).toEqual([]);
  expect(missing(bfdSchema.shape.auth.unwrap().shape, declaredBfd.shape.auth.unwrap().shape)).toEqual([]);
});

test('every attribute of a policy and of a prefix can be declared', () => {
  expect(missing(peerPolicySchema.shape, policySchema.shape)).toEqual([]);
  // A host has one path to a VIP, by itself: its next hops are the host's or those for a peer.
  expect(missing(prefixAttributesShape, announceSchema.shape)).toEqual(['nextHop', 'pathId']);
});
