import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { desiredStateJsonSchema } from '@l4d/l4d/core/desired-state.ts';
import { fieldTexts } from './field-texts.ts';
import { referencePage } from './reference.ts';

/** `npm run docs`: writes the pages that come from the schema. */

const path = fileURLToPath(new URL('../../docs/operators/configuration.md', import.meta.url));
writeFileSync(path, referencePage(desiredStateJsonSchema(), fieldTexts));
process.stdout.write(`${path}\n`);
