/**
 * What a process runs, from the name of its main thread and its command line: the kernel's name for it (at most
 * 15 characters), but for Node the workspace of the script, such as `announcer` for .../announcer/src/main.ts.
 */
export function programName(thread: string, commandLine: readonly string[]): string {
  const isNode = commandLine[0]?.split('/').at(-1) === 'node';
  const script = isNode ? commandLine.slice(1).find((word) => !word.startsWith('-')) : undefined;
  if (script === undefined) return thread;
  const folders: string[] = [];
  for (const part of script.split('/')) {
    if (part === '..') folders.pop();
    else if (part !== '' && part !== '.') folders.push(part);
  }
  const file = folders.pop() ?? thread;
  if (file !== 'main.ts' && file !== 'start.mjs') return file;
  return folders.filter((part) => part !== 'src' && part !== 'bin').at(-1) ?? file;
}
