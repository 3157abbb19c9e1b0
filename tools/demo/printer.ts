import type { Report, Scenario } from '../scenarios/scenario.ts';
import type { Outcome } from './stories.ts';

/** Where the demo writes to. */
export interface PrinterOptions {
  readonly write: (text: string) => void;
  /** Whether to use terminal colours. */
  readonly colours: boolean;
}

/** A report for people at a terminal. */
export interface Printer extends Report {
  line(text: string): void;
  /** Begins a story. */
  title(number: string, scenario: Scenario): void;
  /** Ends it: what it has proved. */
  facts(outcome: Outcome): void;
  summary(outcomes: readonly Outcome[], took: string): void;
}

const codes = { bold: '1', dim: '2', red: '31', green: '32', cyan: '36' } as const;

/** Prints as it goes; a command that is repeated on the next host is not written out again. */
export function createPrinter({ write, colours }: PrinterOptions): Printer {
  const paint = (colour: keyof typeof codes, text: string) =>
    colours ? `\x1b[${codes[colour]}m${text}\x1b[0m` : text;
  const line = (text: string) => write(`${text}\n`);
  const mark = (holds: boolean) => (holds ? paint('green', '✓') : paint('red', '✗'));
  let lastCommand: string | undefined;
  return {
    line,
    title(number, scenario) {
      lastCommand = undefined;
      line(paint('bold', `\n━━ ${number} ${scenario.name}: ${scenario.title}`));
    },
    step(text) {
      lastCommand = undefined;
      line(`  ${text}`);
    },
    command(host, text) {
      line(`    ${paint('cyan', `${host} #`)} ${text === lastCommand ? paint('dim', '(the same)') : text}`);
      lastCommand = text;
    },
    show(text) {
      lastCommand = undefined;
      for (const each of text.split('\n')) line(paint('dim', `      ${each}`));
    },
    facts(outcome) {
      lastCommand = undefined;
      for (const { holds, claim, seen } of outcome.facts) {
        line(`  ${mark(holds)} ${claim}`);
        line(paint('dim', `      ${seen}`));
      }
      if (outcome.failure !== undefined) line(`  ${mark(false)} ${outcome.failure}`);
    },
    summary(outcomes, took) {
      line(paint('bold', '\n━━ summary'));
      const width = Math.max(0, ...outcomes.map(({ scenario }) => scenario.name.length));
      for (const { scenario, facts, holds, failure, tookMs } of outcomes) {
        const good = facts.filter((fact) => fact.holds).length;
        const seconds = `${(tookMs / 1000).toFixed(1)} s`;
        const count = `${good}/${scenario.factCount} facts`;
        line(
          `  ${mark(holds)} ${scenario.name.padEnd(width)}  ${count.padStart(11)}  ${seconds.padStart(7)}  ${scenario.title}`,
        );
        for (const fact of facts) if (!fact.holds) line(`      ✗ ${fact.claim}: ${fact.seen}`);
        if (failure !== undefined) line(`      ${failure.split('\n')[0]}`);
      }
      const total = outcomes.reduce((sum, { scenario }) => sum + scenario.factCount, 0);
      const good = outcomes.reduce((sum, { facts }) => sum + facts.filter(({ holds }) => holds).length, 0);
      const verdict = outcomes.every(({ holds }) => holds) ? 'everything holds' : 'not everything holds';
      line(paint('bold', `\n${good} of ${total} facts after ${took}: ${verdict}; the lab is down`));
    },
  };
}
