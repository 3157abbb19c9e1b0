/** TLS of l7 VIPs as an operator has it: check, apply, curl and openssl, nginx behind it, files that change. */
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createTestAuthority, type TestAuthority } from '@l4d/kit/tls/test-authority.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { inNamespace, runCommand } from '../../tools/lab/io/run-command.ts';
import { createLoneHost, eventually, type LoneHost } from './support/lone-host.ts';

const vip = '203.0.113.20';
let host: LoneHost;
let authority: TestAuthority;
let live: { readonly cert: string; readonly key: string };

beforeAll(async () => {
  host = createLoneHost('l4tls');
  authority = createTestAuthority('l4tls');
  for (const name of ['a.example', 'b.example']) authority.issue(name);
  authority.issue('client', { subject: '/CN=someone' });
  authority.issue('backend', { san: 'DNS:backend.example' });
  authority.issue('expired', { san: 'DNS:backend.example', from: '200101000000Z', until: '200102000000Z' });
  live = { cert: authority.path('live.pem'), key: authority.path('live.key') };
  put('a.example');
  writeFileSync(authority.path('tickets.keys'), `${randomBytes(80).toString('base64')}\n`);
  startNginx();
});
afterAll(async () => {
  await host.reset();
  await host.remove();
  authority.remove();
});

/** Exchanges certificate and key as renewal programs do: one after the other, each by a rename. */
function put(name: string): void {
  for (const [from, to] of [
    [`${name}.key`, live.key],
    [`${name}.pem`, live.cert],
  ] as const) {
    copyFileSync(authority.path(from), `${to}.new`);
    renameSync(`${to}.new`, to);
  }
}

/** In the backend's namespace: 8443 good, 8444 expired, 8080 plain. */
function startNginx(): void {
  const folder = join(host.folder, 'nginx');
  mkdirSync(folder);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${folder}/${kind};`)
    .join(' ');
  const seen =
    'return 200 "$server_port|$http_x_forwarded_proto|$http_x_tls_client_subject|$ssl_server_name|\n";';
  const tls = (port: number, name: string) =>
    `server { listen 10.88.0.21:${port} ssl; ssl_certificate ${authority.path(`${name}.pem`)};
     ssl_certificate_key ${authority.path(`${name}.key`)}; location / { ${seen} } }`;
  const file = host.write(
    'nginx.conf',
    `daemon off; master_process off; user root; error_log stderr crit; pid ${folder}/pid; events {}
     http { access_log off; ${temporary} server { listen 10.88.0.21:8080; location / { ${seen} } }
     ${tls(8443, 'backend')} ${tls(8444, 'expired')} }`,
  );
  const argv = inNamespace(`/run/netns/${host.namespaces.backend}`, ['nginx', '-c', file]);
  const [command = '', ...words] = argv;
  spawn(command, words, { stdio: 'ignore' }).unref();
}

const check = '{ type: tcp, interval: 500ms, timeout: 500ms, rise: 1, fall: 2 }';

function config(): string {
  const towards = `{ ca: ${authority.ca}, serverName: backend.example }`;
  return `version: 1
host: { interface: br0, proxy: { workers: 2 } }
vips:
  - name: web
    address: ${vip}
    port: 443
    policy: l7
    check: ${check}
    tls:
      certificates: [{ cert: ${live.cert}, key: ${live.key} }, { cert: ${authority.path('b.example.pem')}, key: ${authority.path('b.example.key')} }]
      ticketKeys: ${authority.path('tickets.keys')}
    backendTls: ${towards}
    backends: [{ address: 10.88.0.21, port: 8443 }]
  - { name: plain, address: ${vip}, port: 80, policy: l7, redirectToHttps: 443, check: ${check}, backends: [{ address: 10.88.0.21, port: 8080 }] }
  - { name: expired, address: ${vip}, port: 8444, policy: l7, backendTls: ${towards}, check: ${check}, backends: [{ address: 10.88.0.21, port: 8444 }] }
  - name: known
    address: ${vip}
    port: 444
    policy: l7
    check: ${check}
    tls:
      certificates: [{ cert: ${authority.path('b.example.pem')}, key: ${authority.path('b.example.key')} }]
      clientCertificates: { ca: ${authority.ca} }
    backends: [{ address: 10.88.0.21, port: 8080 }]
`;
}

async function curl(...words: string[]): Promise<string> {
  const names = ['a', 'b'].flatMap((name) =>
    [443, 444, 80].flatMap((port) => ['--resolve', `${name}.example:${port}:${vip}`]),
  );
  const argv = ['curl', '-sS', '--max-time', '5', '--cacert', authority.ca, ...names, ...words];
  const { stdout, stderr } = await runCommand(inNamespace(`/run/netns/${host.namespaces.client}`, argv));
  return stdout || stderr;
}

const show = async (name: string) => (await host.run('l4ctl', 'vip', 'show', name)).stdout;

test('check says what is wrong with a file, and how to mend it', async () => {
  const openssl = (...words: string[]) => execFileSync('openssl', words, { stdio: 'pipe' });
  const { path } = authority;
  openssl('pkey', '-in', path('a.example.key'), '-aes256', '-passout', 'pass:x', '-out', path('locked.key'));
  openssl(
    ...['pkcs12', '-export', '-in', path('a.example.pem'), '-inkey', path('a.example.key')],
    ...['-passout', 'pass:x', '-out', path('a.p12')],
  );
  const file = (...pairs: readonly (readonly [cert: string, key: string])[]) => {
    const vips = pairs.map(
      ([cert, key], index) =>
        `  - { address: ${vip}, port: ${443 + index}, policy: l7, tls: { certificates: [{ cert: ${path(cert)}, key: ${path(key)} }] }, backends: [{ address: 10.88.0.21 }] }\n`,
    );
    return host.write('check.yaml', `version: 1\nhost: { interface: br0 }\nvips:\n${vips.join('')}`);
  };
  const cases = [
    ['a.example.pem', 'b.example.key', /b\.example\.key is not the key of the certificate in/],
    ['a.example.pem', 'locked.key', /is encrypted.*openssl pkey -in .*locked\.key/],
    ['a.p12', 'a.example.key', /is PKCS#12, not PEM: openssl pkcs12 -in/],
    ['missing.pem', 'a.example.key', /missing\.pem does not exist/],
    ['expired.pem', 'expired.key', /expired\.pem has expired on 2020-01-02/],
  ] as const;
  const { code, stderr } = await host.run(
    'l4d',
    'check',
    file(...cases.map(([cert, key]) => [cert, key] as const)),
  );
  expect(code).toBe(78);
  const lines = stderr.trim().split('\n');
  expect(lines.length).toBe(cases.length);
  for (const [index, [, , expected]] of cases.entries()) {
    expect(lines[index]).toContain(`check.yaml: vips[${index}].tls.certificates[0]: `);
    expect(lines[index]).toMatch(expected);
  }
  expect((await host.run('l4d', 'check', file(['a.example.pem', 'a.example.key']))).code).toBe(0);
});

test('serves, resumes at any worker, verifies backends, and takes what is renewed', {
  timeout: 60_000,
}, async () => {
  await host.start('-c', host.write('l4d.yaml', config()));
  const answer = await eventually(
    () => curl('https://a.example/'),
    (text) => text.startsWith('8443'),
    20_000,
  );
  expect(answer).toBe('8443|https||backend.example|\n');
  expect(await curl('https://b.example/')).toContain('8443|');
  // By the redirect, from plain HTTP.
  expect(await curl('-L', '-w', '%{url_effective}', 'http://a.example/x?y')).toBe(
    '8443|https||backend.example|\nhttps://a.example/x?y',
  );
  const identity = ['--cert', authority.path('client.pem'), '--key', authority.path('client.key')];
  expect(await curl(...identity, '-H', 'X-TLS-Client-Subject: CN=root', 'https://b.example:444/')).toBe(
    '8080|https|CN=someone||\n',
  );
  expect(await curl('https://b.example:444/')).toMatch(/alert|required/);

  expect(await curl('-o', '/dev/null', '-w', '%{http_code}', `http://${vip}:8444/`)).toBe('502');
  await eventually(
    () => show('expired'),
    (text) => text.includes('certificate has expired'),
  );
  expect(await show('expired')).toContain('TLS: certificate has expired');

  // Each connection has another port and so another worker of the two.
  const session = authority.path('session');
  const client = (...words: string[]) =>
    runCommand(
      inNamespace(`/run/netns/${host.namespaces.client}`, [
        ...['sh', '-c', `printf 'GET / HTTP/1.0\\r\\nHost: a.example\\r\\n\\r\\n' | exec "$@"`, 'sh'],
        ...[
          'openssl',
          's_client',
          '-connect',
          `${vip}:443`,
          '-servername',
          'a.example',
          '-ign_eof',
          ...words,
        ],
      ]),
    );
  for (const version of ['-tls1_2', '-tls1_3']) {
    await client(version, '-sess_out', session);
    const resumed = await Promise.all(
      Array.from({ length: 6 }, async () => (await client(version, '-sess_in', session)).stdout),
    );
    expect(resumed.map((text) => /^(New|Reused), /m.exec(text)?.[1])).toEqual(new Array(6).fill('Reused'));
  }

  put('b.example');
  // Each worker looks at the files by itself: eight connections have met both.
  const presented = () =>
    Promise.all(Array.from({ length: 8 }, () => curl('-k', '-sv', '-o', '/dev/null', 'https://a.example/')));
  const renewed = await eventually(presented, (all) => all.every((text) => text.includes('CN=b.example')));
  expect(renewed.filter((text) => !text.includes('CN=b.example'))).toEqual([]);
  copyFileSync(authority.path('a.example.key'), live.key);
  const refused = await eventually(
    async () => (await host.run('l4ctl', 'status')).stdout,
    (text) => text.includes('TLS files refused'),
  );
  expect(refused).toMatch(
    /VIP web: TLS files refused, what was read before stays in force: .*is not the key of/,
  );
  expect(await curl('-k', 'https://a.example/')).toContain('8443|');
  const metrics = (
    await host.run('curl', '-s', '--unix-socket', join(host.folder, 'run/l4d.sock'), 'http://l4d/metrics')
  ).stdout;
  expect(metrics).toMatch(/^l4d_tls_files_refused\{vip="web"\} 1$/m);
  expect(metrics).toMatch(/^l4d_tls_reloads_total\{vip="web"\} [1-9]/m);
  expect(metrics).toMatch(/^l4d_tls_handshakes_total\{vip="web",version="TLSv1.3"\} \d+$/m);
  expect(metrics).toMatch(
    /^l4d_tls_certificate_not_after_seconds\{vip="web",certificate="[^"]+live\.pem"\} \d{10}$/m,
  );
  expect(await show('web')).toMatch(/certificate .*live\.pem {2}ec {2}b\.example {2}until 20/);

  // A VIP whose files are not there is refused; forced, it is not announced until they are.
  const missing = authority.path('later.pem');
  const add = [
    'vip',
    'add',
    `${vip}:445`,
    '--name',
    'later',
    '--policy',
    'l7',
    '--tls',
    missing,
    '-b',
    '10.88.0.21:8080',
  ];
  const plain = await host.run('l4ctl', ...add);
  expect([plain.code === 0, plain.stderr]).toEqual([
    false,
    expect.stringContaining(`${missing} does not exist`),
  ]);
  expect((await host.run('l4ctl', '--force', ...add)).code).toBe(0);
  const explain = async () => (await host.run('l4ctl', 'vip', 'explain', 'later')).stdout;
  const down = await eventually(explain, (text) => text.includes('proxy-down'));
  expect(down).toContain(`the proxy cannot serve: TLS: ${missing} does not exist`);
  execFileSync('sh', [
    '-c',
    `cat ${authority.path('a.example.key')} ${authority.path('a.example.pem')} > ${missing}`,
  ]);
  expect(await eventually(explain, (text) => !text.includes('proxy-down'))).toContain('no-bgp');
});

test('without OpenSSL the message names the library and the package', () => {
  const library = execFileSync('sh', ['-c', "ldconfig -p | sed -n 's/.*libssl.so.3 .*=> //p' | head -n 1"], {
    encoding: 'utf8',
  }).trim();
  const program = `import { libssl } from '${import.meta.dirname}/../../l4d/kit/src/ffi/libssl.ts'; libssl();`;
  const hidden = `mount --bind /dev/null "$(readlink -f ${library})" && exec "$0" --input-type=module -e "$1"`;
  const outcome = (() => {
    try {
      return execFileSync('unshare', ['-m', 'sh', '-c', hidden, process.execPath, program], {
        stdio: 'pipe',
      });
    } catch (error) {
      return (error as { stderr: Buffer }).stderr;
    }
  })();
  expect(outcome.toString()).toContain(
    'libssl.so.3 (TLS) is not available here: install the Debian package libssl3',
  );
});
