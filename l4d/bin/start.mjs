import { startProgram } from '../../tools/setup/start-bundled.mjs';

await startProgram(new URL('../', import.meta.url), 'src/main.ts');
