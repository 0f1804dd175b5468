import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { METRICS } from '../../src/telemetry/index.js';
import { everythingOnce, FIGURES, makeTelemetry, task } from './support.js';

/** The samples of a scrape: `name{labels}` -> value. */
function samplesOf(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}

describe('metrics', () => {
  it('have names and labels in the form that Prometheus asks for', () => {
    for (const [name, { type, help, labels }] of Object.entries(METRICS)) {
      assert.match(name, /^(pluginhost|grpc_server)_[a-z0-9]+(_[a-z0-9]+)*$/);
      assert.equal(name.endsWith('_total'), type === 'counter', name);
      if (type === 'histogram') assert.match(name, /_(seconds|items)$/);
      assert.match(help, /\.$/);
      for (const label of labels) assert.match(label, /^[a-z][a-z_]*$/);
      assert.doesNotMatch(name, /_(ms|milliseconds|kb|mb)(_|$)/);
    }
  });

  it('shows every metric of the catalogue once everything has happened once', async () => {
    const telemetry = makeTelemetry();
    everythingOnce(telemetry);
    const { text, contentType } = await telemetry.scrape();
    assert.match(contentType, /^text\/plain; version=0\.0\.4/);
    const samples = samplesOf(text);
    for (const [name, { type }] of Object.entries(METRICS)) {
      const wanted = type === 'histogram' ? `${name}_count` : name;
      const found = [...samples.keys()].some((key) => key === wanted || key.startsWith(`${wanted}{`));
      assert.ok(found, `${name} has no sample`);
    }
    for (const value of samples.values()) assert.ok(!Number.isNaN(value));
    const value = (key: string) => samples.get(key);
    const rpc = 'grpc_type="unary",grpc_service="pluginhost.v1.PluginHost",grpc_method="Status"';
    assert.equal(value(`grpc_server_handled_total{${rpc},grpc_code="NOT_FOUND"}`), 1);
    assert.equal(value(`grpc_server_handling_seconds_bucket{${rpc},le="0.001"}`), 0);
    assert.equal(value(`grpc_server_handling_seconds_bucket{${rpc},le="0.0025"}`), 1);
    assert.equal(value(`grpc_server_handling_seconds_bucket{${rpc},le="+Inf"}`), 2);
    assert.equal(value(`grpc_server_handling_seconds_sum{${rpc}}`), 60.002);
    assert.equal(value('pluginhost_tasks{plugin="slurm",stage="live"}'), 7);
    assert.equal(value('pluginhost_remote_down{plugin="slurm"}'), 1);
    assert.equal(value('pluginhost_schedule_oldest_overdue_seconds{plugin="slurm"}'), 1.5);
    assert.equal(value('pluginhost_plugin_state{plugin="demo",state="failed"}'), 1);
    assert.equal(value('pluginhost_plugin_restarts_total{plugin="slurm"}'), 2);
    assert.equal(value('pluginhost_throttle_pause_seconds_total{plugin="slurm",lane="read"}'), 2.5);
    assert.equal(value('pluginhost_limit_qps{plugin="slurm",lane="write"}'), 20);
    for (const lane of ['read', 'write']) {
      // A call within the plugin's process waits in no lane.
      assert.equal(value(`pluginhost_limit_wait_seconds_count{plugin="slurm",lane="${lane}"}`), 1);
    }
    assert.equal(value('pluginhost_plugin_batch_items_count{plugin="slurm"}'), 1);
  });

  it('takes no label from a request', async () => {
    const telemetry = makeTelemetry();
    telemetry.measure(() => FIGURES);
    telemetry.taskEvents.ended(task('evil"} 1\nname'));
    telemetry.gateEvents.rejected({ plugin: 'evil', method: 'get', code: 'X' });
    telemetry.hostEvents.metric({ pluginId: 'evil', kind: 'gauge', name: 'x', value: 1 });
    const { text } = await telemetry.scrape();
    assert.doesNotMatch(text, /evil|from-a-request/);
    assert.match(text, /pluginhost_tasks_ended_total\{plugin="unregistered",phase="SUCCESS"\} 1/);
    assert.match(text, /pluginhost_quota_tokens_used\{plugin="slurm",quota_namespace="other"\} 11/);
  });

  it('drops the gauges of a plugin that is gone, and keeps two daemons apart', async () => {
    const telemetry = makeTelemetry();
    const other = makeTelemetry();
    let figures = FIGURES;
    telemetry.measure(() => figures);
    assert.match((await telemetry.scrape()).text, /pluginhost_limit_qps\{plugin="slurm"/);
    figures = { ...FIGURES, plugins: FIGURES.plugins.slice(1) };
    assert.doesNotMatch((await telemetry.scrape()).text, /plugin="slurm"/);
    assert.doesNotMatch((await other.scrape()).text, /plugin="(slurm|demo)"/);
  });

  it('bounds what plugins measure themselves: names, number of names, values', async () => {
    const telemetry = makeTelemetry();
    const add = (kind: 'count' | 'gauge' | 'observe', name: string, value: number, pluginId = 'slurm') =>
      telemetry.hostEvents.metric({ pluginId, kind, name, value });
    add('count', 'jobs', 2);
    add('count', 'jobs_total', 3);
    add('gauge', 'depth', -4);
    add('observe', 'latency', 0.02);
    add('observe', 'latency_seconds', 100);
    add('count', 'jobs', 1, 'demo');
    let dropped = 0;
    for (const [kind, name, value] of [
      ['count', '', 1],
      ['count', 'a-b', 1],
      ['count', 'Jobs', 1],
      ['count', 'a__b', 1],
      ['count', `x${'y'.repeat(80)}`, 1],
      ['gauge', 'jobs_total', 1],
      ['gauge', 'jobs_bucket', 1],
      ['count', 'jobs', -1],
      ['count', 'jobs', Number.NaN],
      ['observe', 'latency', Number.POSITIVE_INFINITY],
      ['gauge', 'x"} 1\ny', 1],
    ] as const) {
      add(kind, name, value);
      dropped++;
    }
    for (let i = 0; i < 60; i++) add('count', `n${i}`, 1);
    dropped += 60 - (50 - 3);
    const samples = samplesOf((await telemetry.scrape()).text);
    const value = (key: string) => samples.get(`pluginhost_plugin_custom_${key}`);
    assert.equal(value('jobs_total{plugin="slurm"}'), 5);
    assert.equal(value('jobs_total{plugin="demo"}'), 1);
    assert.equal(value('depth{plugin="slurm"}'), -4);
    assert.equal(value('latency_seconds_bucket{le="0.025",plugin="slurm"}'), 1);
    assert.equal(value('latency_seconds_bucket{le="+Inf",plugin="slurm"}'), 2);
    assert.equal(value('latency_seconds_count{plugin="slurm"}'), 2);
    assert.equal(value('n46_total{plugin="slurm"}'), 1);
    assert.equal(value('n47_total{plugin="slurm"}'), undefined);
    assert.equal(value('dropped_total{plugin="slurm"}'), dropped);
  });

  it('leaves out the process metrics that promtool rejects, and has the event-loop delay', async () => {
    const { text } = await makeTelemetry([], true).scrape();
    assert.doesNotMatch(text, /nodejs_active_\w+_total/);
    assert.match(text, /^nodejs_eventloop_lag_p99_seconds /m);
    assert.match(text, /^process_resident_memory_bytes /m);
  });
});
