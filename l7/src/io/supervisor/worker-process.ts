import { createLogger } from '@l4d/kit/logger.ts';
import { runWorker } from '../worker/worker.ts';

/** One worker of the proxy; the supervisor starts it: `worker-process.ts RUN_DIR PLACE BUILD BPF_DIR`. */
const [runDir = '', place = '', build = '', bpfDir = ''] = process.argv.slice(2);

runWorker({ runDir, place: Number(place), build, bpfDir }, createLogger(`l4-proxy worker ${place}`));
