import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { createLogDestination, openLogDestination } from './log-destination.ts';

test('a line that is not taken is dropped and told of; one that was begun is finished first', () => {
  let room = 10;
  let written = '';
  const destination = createLogDestination(() => (bytes) => {
    if (room === 0) throw new Error('EAGAIN');
    const taken = Math.min(room, bytes.length);
    written += Buffer.from(bytes.subarray(0, taken)).toString();
    room -= taken;
    return taken;
  });
  destination.write('0123456789abc\n');
  destination.write('dropped\n');
  destination.write('dropped\n');
  expect([written, destination.lost]).toEqual(['0123456789', 2]);
  room = 1000;
  destination.write('next\n');
  const [first, told, last] = written.split('\n');
  expect(first).toBe('0123456789abc');
  expect(JSON.parse(told ?? '')).toMatchObject({ level: 40, lost: 2 });
  expect([last, destination.lost]).toEqual(['next', 0]);
});

test('a full disk neither ends nor stops who logs', () => {
  const full = openSync('/dev/full', 'w');
  const destination = openLogDestination(full);
  for (let i = 0; i < 10; i++) destination.write('line\n');
  expect(destination.lost).toBe(10);
  closeSync(full);
});

test('a daemon whose log is on a full disk goes on', () => {
  const script =
    "import { createLogger } from '@l4d/kit/logger.ts'; createLogger('x').warn('lost'); console.log('goes on');";
  const said = execFileSync(
    'bash',
    ['-c', '"$0" --input-type=module -e "$1" 2> /dev/full', process.execPath, script],
    {
      cwd: import.meta.dirname,
    },
  );
  expect(said.toString()).toBe('goes on\n');
});

/** Logs far more than a pipe or a socket holds, then says on stdout that it goes on. */
const chatter = `
  import { createLogger } from '@l4d/kit/logger.ts';
  const log = createLogger('chatter');
  await new Promise((resolve) => setTimeout(resolve, 200));
  for (let i = 0; i < 4000; i++) log.info({ i }, 'x'.repeat(100));
  process.stdout.write('goes on');
  process.stdin.once('data', () => { log.info('last'); process.exit(0); });
`;

test.each([
  ['a pipe', '"$0" "$@" 2> >(read -r -u 3; cat >&4) 3<&- 4>&-'],
  ['a socket', '"$0" "$@"'],
])(
  '%s that nobody reads does not stop who logs, and what was lost is told when it is read',
  async (kind, shell) => {
    const command = [process.execPath, '--input-type=module', '-e', chatter];
    const child =
      kind === 'a socket'
        ? spawn(command[0] as string, command.slice(1), {
            stdio: ['pipe', 'pipe', 'pipe'],
            cwd: import.meta.dirname,
          })
        : spawn('bash', ['-c', shell, ...command], {
            stdio: ['pipe', 'pipe', 'inherit', 'pipe', 'pipe'],
            cwd: import.meta.dirname,
          });
    onTestFinished(() => void child.kill('SIGKILL'));
    const [said] = await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
    expect(String(said)).toBe('goes on');
    const reader = kind === 'a socket' ? child.stderr : (child.stdio[4] as NodeJS.ReadableStream);
    const all = text(reader as NodeJS.ReadableStream);
    if (kind === 'a pipe') (child.stdio[3] as NodeJS.WritableStream).write('\n');
    // What was written is read; only then is there room again.
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.stdin?.write('x');
    await once(child, 'exit');
    const lines = (await all).trim().split('\n');
    for (const line of lines) expect(() => JSON.parse(line)).not.toThrow();
    expect(lines.length).toBeLessThan(4000);
    expect(lines.some((line) => /"lost":\d+/.test(line))).toBe(true);
    expect(lines.at(-1)).toContain('"last"');
  },
);

test('stderr of a shell is still a file that others write to', () => {
  const out = execFileSync(
    'bash',
    [
      '-c',
      `f=$(mktemp); echo before > $f; "$0" --input-type=module -e "$1" 2>> $f; echo after >> $f; cat $f; rm $f`,
      process.execPath,
      "import { createLogger } from '@l4d/kit/logger.ts'; createLogger('x').info('within');",
    ],
    { cwd: import.meta.dirname },
  ).toString();
  expect(out).toMatch(/^before\n\{.*"within"\}\nafter\n$/);
});
