import { expect, it } from 'vitest';
import { parseConfigText } from '../io/config-file.ts';
import { schedulingWarnings } from './scheduling-warnings.ts';

function warningsOf(fields: string): string[] {
  const text = `version: 1\nhost: { interface: eth0 }\nvips:\n  - { name: v, address: 203.0.113.1, port: 80, ${fields} backends: [{ address: 10.0.0.1 }] }\n`;
  const parsed = parseConfigText(text, 'x.yaml');
  if (!parsed.ok) throw parsed.error;
  return parsed.value.state.vips.flatMap(schedulingWarnings);
}

it.each([
  ['', []],
  ['scheduler: source,', []],
  ['scheduler: source-prefix, sourcePrefixLength: 16,', []],
  ['scheduler: wrr,', [/with scheduler wrr hosts answer differently/]],
  ['scheduler: least-connections, slowStart: 30s,', [/least-connections and slowStart hosts/]],
  ['slowStart: 30s,', [/with slowStart hosts/]],
  ['stateful: false,', [/a drain too, moves the existing flows/]],
])('%s', (fields, expected) => {
  expect(warningsOf(fields)).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
});
