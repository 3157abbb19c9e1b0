import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseConfigText, readConfigFile } from './config-file.ts';

const good = `version: 1
host:
  interface: eth0
vips:
  - name: web
    address: 203.0.113.10
    port: 80
    backends:
      - { address: 10.0.0.21 }
      - { address: 10.0.0.22, weight: 3 }
`;

/** The good document with one line replaced, and the first message about it. */
function refusal(from: string, to: string): string {
  expect(good).toContain(from);
  const result = parseConfigText(good.replace(from, to), 'l4d.yaml');
  if (result.ok) throw new Error('it was accepted');
  return result.error.message;
}

test('a good document is read, and kept as it was written beside', () => {
  const result = parseConfigText(good, 'l4d.yaml');
  if (!result.ok) throw result.error;
  expect(result.value.state.vips[0]?.backends[1]?.weight).toBe(3);
  expect(result.value.state.vips[0]?.tableSize).toBe(1009);
  expect(JSON.stringify(result.value.json)).not.toContain('tableSize');
});

test.each([
  [
    'port out of range',
    'port: 80',
    'port: 70000',
    'l4d.yaml:7:11: vips[0].port: 70000 is not a port (allowed: 1 to 65535)',
  ],
  [
    'unknown key',
    'port: 80',
    'prot: 80',
    /^l4d\.yaml:5:5: vips\[0\]\.port: is missing .*\nl4d\.yaml:7:5: vips\[0\]\.prot: is not a known key .*\(did you mean "port"\?\)$/,
  ],
  [
    'bad address',
    '203.0.113.10',
    '203.0.113.256',
    'l4d.yaml:6:14: vips[0].address: "203.0.113.256" is not an IP address (allowed: IPv4 such as 192.0.2.10 or IPv6 such as 2001:db8::10)',
  ],
  [
    'backend in another family',
    '10.0.0.22',
    '"fd00::22"',
    "l4d.yaml:10:20: vips[0].backends[1].address: fd00::22 is IPv6, its VIP 203.0.113.10 is IPv4 (allowed: the VIP's family) (forward: ipip, gue and vxlan, and policy l7, may have backends of another family)",
  ],
  [
    'duplicate backend',
    '10.0.0.22',
    '10.0.0.21',
    'l4d.yaml:10:20: vips[0].backends[1].address: 10.0.0.21 is already backends[0] of this VIP (use weight for a larger share)',
  ],
  [
    'duplicate VIP',
    '      - { address: 10.0.0.22, weight: 3 }\n',
    '  - address: 203.0.113.10\n    port: 80\n    backends: [{ address: 10.0.0.23 }]\n',
    'l4d.yaml:10:14: vips[1].address: 203.0.113.10 port 80 tcp is already served by vips[0] ("web") (a VIP is one address, port and protocol: merge the backends or change one of the three)',
  ],
  [
    'no backends',
    'backends:\n      - { address: 10.0.0.21 }\n      - { address: 10.0.0.22, weight: 3 }',
    'backends: []',
    'l4d.yaml:8:15: vips[0].backends: has no backends (allowed: at least one)',
  ],
  [
    'backends left empty',
    '\n      - { address: 10.0.0.21 }\n      - { address: 10.0.0.22, weight: 3 }',
    '',
    /^l4d\.yaml:8:14: vips\[0\]\.backends: null is not a list/,
  ],
  [
    'duplicate key',
    'interface: eth0',
    'interface: eth0\n  interface: eth1',
    'l4d.yaml:4:3: the key "interface" is there twice in one mapping (allowed: once)',
  ],
  ['unclosed bracket', '{ address: 10.0.0.21 }', '{ address: 10.0.0.21', /^l4d\.yaml:10:7: not valid YAML: /],
  ['a tab', '  interface', '\tinterface', /^l4d\.yaml:3:1: not valid YAML: .*indent with spaces/],
  ['two documents', 'host:', '---\nhost:', /^l4d\.yaml:2:1: the file holds more than one document/],
  ['an unknown tag', 'eth0', '!secret eth0', /^l4d\.yaml:3:14: not valid YAML: Unresolved tag/],
])('%s is told with its place', (_, from, to, expected) => {
  expect(refusal(from, to)).toMatch(expected);
});

test('an empty document says what is needed', () => {
  for (const text of ['', '# nothing\n']) {
    const result = parseConfigText(text, 'l4d.yaml');
    expect(result.ok ? '' : result.error.message).toBe(
      'l4d.yaml:1:1: the document is empty (needed: at least version: 1)',
    );
  }
});

test('problems are told in the order of the file', () => {
  const result = parseConfigText(
    'version: 1\nvips:\n  - backends: 3\n    port: 0\n    address: x\nhost: 3\n',
    'f',
  );
  expect(result.ok ? [] : result.error.problems.map((problem) => problem.line)).toEqual([3, 4, 5, 6]);
});

test('values behind aliases are placed where they are written, and alias bombs are refused', () => {
  const shared =
    'version: 1\nvips:\n  - { address: 203.0.113.1, port: 80, backends: &pool [{ address: fd00::1 }] }\n  - { address: 203.0.113.2, port: 80, backends: *pool }\n';
  const result = parseConfigText(shared, 'f');
  expect(result.ok ? '' : result.error.message).toContain(
    'f:3:67: vips[1].backends[0].address: fd00::1 is IPv6',
  );
  let bomb = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n';
  for (let n = 1; n < 12; n++)
    bomb += `a${n}: &a${n} [${Array(10)
      .fill(`*a${n - 1}`)
      .join(', ')}]\n`;
  const started = performance.now();
  const refused = parseConfigText(bomb, 'f');
  expect(refused.ok ? '' : refused.error.message).toMatch(/aliases: Excessive alias count/);
  expect(performance.now() - started).toBeLessThan(2000);
});

test('files are read; one that is missing is a ConfigError too', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'l4d-config-'));
  try {
    const path = join(folder, 'l4d.yaml');
    await writeFile(path, good);
    expect((await readConfigFile(path)).ok).toBe(true);
    const missing = await readConfigFile(`${path}.gone`);
    expect(missing.ok ? '' : missing.error.message).toMatch(/l4d\.yaml\.gone: cannot be read: ENOENT/);
  } finally {
    await rm(folder, { recursive: true });
  }
});
