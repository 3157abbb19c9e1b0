import { startProgram } from '../setup/start-bundled.mjs';

await startProgram(new URL('./', import.meta.url), 'main.ts');
