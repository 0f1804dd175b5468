// Starts the cluster and holds it until SIGINT or SIGTERM: to look at Slurm's REST API by hand.
import { SlurmCluster } from './cluster.js';
import { ensureSlurmInstalled } from './packages.js';

const log = (line: string) => console.error(line);
ensureSlurmInstalled(log);
const cluster = await SlurmCluster.start(log);
console.log(`export SLURM_CONF=${cluster.confFile}`);
console.log(`export SLURM_URL=${cluster.restUrl}/slurm/v0.0.38`);
console.log(`export SLURM_JWT=${await cluster.token(36_000)}`);
console.log(`export SLURM_DATA=${cluster.dataDir}`);
const timer = setInterval(() => undefined, 60_000);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    clearInterval(timer);
    void cluster.stop();
  });
}
