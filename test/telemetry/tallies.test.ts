import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricSet } from '../../src/telemetry/metric-set.js';
import { counterTallies, histogramTallies } from '../../src/telemetry/tallies.js';

/** In any order, as are the labels of each: it says nothing. */
async function linesOf(set: MetricSet): Promise<readonly string[]> {
  const sorted = (labels: string) => labels.split(',').sort().join();
  const lines = (await set.text()).split('\n');
  return lines.map((line) => line.replace(/(?<=\{).*(?=\})/, sorted)).sort();
}

test('what is added up is told at a scrape as prom-client tells it', async () => {
  const [ours, theirs] = [new MetricSet(), new MetricSet()];
  const calls = counterTallies(ours, 'pluginhost_plugin_calls_total');
  const seconds = histogramTallies(ours, 'pluginhost_plugin_call_seconds');
  const theirCalls = theirs.counter('pluginhost_plugin_calls_total');
  const theirSeconds = theirs.histogram('pluginhost_plugin_call_seconds');
  assert.deepEqual(await linesOf(ours), await linesOf(theirs), 'before anything is counted');

  for (const method of ['get', 'getMany']) {
    for (const outcome of ['ok', 'transient']) {
      const labels = { plugin: 'sl"urm', method, outcome };
      calls(labels).add();
      calls({ outcome, method, plugin: 'sl"urm' }).add(2);
      theirCalls.inc(labels, 3);
    }
    const labels = { plugin: 'slurm', method };
    for (const value of [0, 0.001, 0.005, 0.0050001, 0.3, 1, 59, 1e6]) {
      seconds(labels).observe(value);
      theirSeconds.observe(labels, value);
    }
  }
  assert.deepEqual(await linesOf(ours), await linesOf(theirs));
});

test('a series that has counted nothing is not told', async () => {
  const set = new MetricSet();
  const late = counterTallies(set, 'pluginhost_schedule_late_reads_total')({ plugin: 'slurm' });
  assert.doesNotMatch(await set.text(), /slurm/);
  late.add();
  assert.match(await set.text(), /pluginhost_schedule_late_reads_total\{plugin="slurm"\} 1\n/);
});
