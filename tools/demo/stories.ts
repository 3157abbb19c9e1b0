import type { Fact, LabFabric, Scenario } from '../scenarios/scenario.ts';
import type { Printer } from './printer.ts';

/** What became of one story. */
export interface Outcome {
  readonly scenario: Scenario;
  readonly facts: readonly Fact[];
  /** Why it could not be told to its end. */
  readonly failure?: string;
  /** Whether it was told to its end and every fact of it holds. */
  readonly holds: boolean;
  readonly tookMs: number;
}

/** Runs the scenarios one after the other; one that fails does not keep the others from being told. */
export async function tellStories(
  fabric: LabFabric,
  scenarios: readonly Scenario[],
  printer: Printer,
  isLeaving: () => boolean,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const [index, scenario] of scenarios.entries()) {
    // The lab is being taken down: whatever is tried now fails for that alone.
    if (isLeaving()) break;
    printer.title(`${index + 1}/${scenarios.length}`, scenario);
    const start = performance.now();
    const told = await tell(fabric, scenario, printer);
    if (isLeaving()) break;
    const complete = told.facts.length === scenario.factCount;
    const failure =
      told.failure ??
      (complete ? undefined : `${told.facts.length} of ${scenario.factCount} facts were told`);
    const outcome: Outcome = {
      scenario,
      facts: told.facts,
      ...(failure === undefined ? {} : { failure }),
      holds: failure === undefined && told.facts.every(({ holds }) => holds),
      tookMs: performance.now() - start,
    };
    outcomes.push(outcome);
    printer.facts(outcome);
  }
  return outcomes;
}

async function tell(
  fabric: LabFabric,
  scenario: Scenario,
  printer: Printer,
): Promise<{ readonly facts: readonly Fact[]; readonly failure?: string }> {
  try {
    return { facts: await scenario.run(fabric, printer) };
  } catch (error) {
    return { facts: [], failure: error instanceof Error ? error.message : String(error) };
  }
}
